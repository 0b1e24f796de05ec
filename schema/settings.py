"""Settings in force: the model only. ``run_cluster.py`` loads it once and hands parts on.

Names: ``SUPABASE_URL``, ``SUPABASE_KEY``, ``SUPABASE_DB_URL`` as Supabase's own tools have them;
everything else starts with ``GRIDPACT_``. ``.env`` in the working folder is read too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})


def _named(name: str) -> AliasChoices:
    return AliasChoices(name)


class Settings(BaseSettings):
    """Every setting, its default and its unit."""

    model_config = SettingsConfigDict(
        env_prefix="GRIDPACT_", env_file=".env", extra="ignore", frozen=True
    )

    supabase_url: str | None = Field(default=None, validation_alias=_named("SUPABASE_URL"))
    supabase_key: SecretStr | None = Field(default=None, validation_alias=_named("SUPABASE_KEY"))
    supabase_db_url: SecretStr | None = Field(
        default=None, validation_alias=_named("SUPABASE_DB_URL")
    )
    home: Path | None = None
    """State folder; None lets ``storage.home`` choose."""

    carbon_value_gbp_per_tonne: float = Field(default=264.0, ge=0)
    """UK government central value of carbon for 2026, in 2020 prices."""
    sites: Path | None = None
    """``sites.toml`` of the live run; None takes the one in the working folder, if there is one."""

    spool_limit_bytes: int = Field(default=512 * MIB, ge=4 * MIB)
    ingest_batch_rows: int = Field(default=5000, ge=100, le=20_000)
    ingest_batch_bytes: int = Field(default=1_000_000, ge=100_000)
    ingest_in_flight: int = Field(default=4, ge=1, le=16)

    carbon_intensity_url: str = "https://api.carbonintensity.org.uk"
    neso_url: str = "https://api.neso.energy/api/3/action"
    elexon_url: str = "https://data.elexon.co.uk/bmrs/api/v1"
    beckn_url: str = "https://deg-hackathon-bap-sandbox.becknprotocol.io/api"

    beckn_callback_port: int | None = Field(default=None, ge=0, le=65_535)
    """Port on 127.0.0.1 where Beckn providers call us back; 0 is any free one, None none."""
    beckn_callback_url: str | None = None
    """What providers call that address, where they reach it through something else."""
    beckn_keys: Path | None = None
    """File of Beckn signing keys, mode 0600; None signs nothing and believes everybody."""

    source_urls: dict[str, str] = {}
    """Addresses of sources that other packages add, by name."""

    clock_offset_s: float = Field(default=0.0, ge=-3e11, le=3e11)
    """Seconds added to this machine's clock by a live run; a scenario of another date, served, is
    then now."""
    clock_speed: float = Field(default=1.0, ge=1, le=100)
    """How often this machine's seconds since 1970 are taken before the offset is added: a served
    scenario that goes by faster is then followed. Limits of sources go by that clock too, so every
    source must be on this machine."""

    ray_dashboard: bool = False

    @model_validator(mode="after")
    def _hosted_needs_both(self) -> Self:
        if (self.supabase_url is None) != (self.supabase_key is None):
            missing = "SUPABASE_KEY" if self.supabase_key is None else "SUPABASE_URL"
            msg = (
                f"{missing} is missing: a hosted Supabase needs SUPABASE_URL and SUPABASE_KEY; "
                "unset both to use the embedded one"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _only_own_sources_go_faster(self) -> Self:
        if self.clock_speed == 1.0:
            return self
        addresses = {
            "carbon_intensity": self.carbon_intensity_url,
            "neso": self.neso_url,
            "elexon": self.elexon_url,
            "beckn": self.beckn_url,
            **self.source_urls,
        }
        for name, url in addresses.items():
            if urlsplit(url).hostname not in _THIS_MACHINE:
                msg = (
                    f"GRIDPACT_CLOCK_SPEED is {self.clock_speed:g} and {name} is asked at {url}: a "
                    "faster clock breaks the limits of real sources; serve all of them on "
                    "127.0.0.1 with `scenarios serve`, or leave the speed at 1"
                )
                raise ValueError(msg)
        return self

    @property
    def hosted(self) -> bool:
        """Say whether a hosted Supabase is configured."""
        return self.supabase_url is not None
