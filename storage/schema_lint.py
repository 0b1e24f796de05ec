"""Our own rules for the schema, beside the Supabase advisor's.

They hold what the design promises and the advisor does not look at: everything has a comment,
API roles may write nothing but what is listed, helpers are out of reach.
"""

from __future__ import annotations

from typing import NamedTuple

import psycopg

from storage.advisor import Finding


class _Rule(NamedTuple):
    name: str
    remedy: str
    query: str
    """Gives one text a violation: the name of the object."""


_RULES = (
    _Rule(
        "no_comment",
        "say in a migration what it is: comment on …",
        """
        select format('%s %I.%I', case c.relkind when 'r' then 'table' else 'view' end,
            n.nspname, c.relname)
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname in ('public', 'analytics', 'gridpact') and c.relkind in ('r', 'v', 'm')
            and obj_description(c.oid, 'pg_class') is null
        union all
        select format('column %I.%I.%I', n.nspname, c.relname, a.attname)
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where n.nspname in ('public', 'analytics') and c.relkind in ('r', 'v', 'm')
            and col_description(c.oid, a.attnum) is null
        union all
        select format('function %s', p.oid::regprocedure)
        from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
        where n.nspname in ('public', 'analytics', 'gridpact')
            and obj_description(p.oid, 'pg_proc') is null
        """,
    ),
    _Rule(
        "no_row_security",
        "call gridpact.protect_table() for it",
        """
        select format('table %s', oid::regclass) from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
            and not relrowsecurity
        """,
    ),
    _Rule(
        "view_past_row_security",
        "create it with (security_invoker = true)",
        """
        select format('view %s', oid::regclass) from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'v'
            and not coalesce('security_invoker=true' = any (reloptions), false)
        """,
    ),
    _Rule(
        "open_search_path",
        "create it with set search_path = ''",
        """
        select format('function %s', oid::regprocedure) from pg_proc
        where pronamespace in ('public'::regnamespace, 'gridpact'::regnamespace)
            and not coalesce(
                exists (select from unnest(proconfig) as s where s like 'search_path=%'), false)
        """,
    ),
    _Rule(
        "helper_within_reach",
        "revoke execute on all routines in schema gridpact",
        """
        select format('function %s by %s', p.oid::regprocedure, r.rolname)
        from pg_proc as p
        join pg_roles as r on r.rolname in ('anon', 'authenticated', 'service_role')
        where p.pronamespace = 'gridpact'::regnamespace
            and has_function_privilege(r.rolname, p.oid, 'execute')
        """,
    ),
    _Rule(
        "unexpected_write",
        "revoke it: API users may only insert and cancel workloads of their own",
        """
        select format('%s on %I by %s', lower(v.verb), c.relname, r.rolname)
        from pg_class as c
        join pg_roles as r on r.rolname in ('anon', 'authenticated')
        cross join unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER',
            'REFERENCES', 'MAINTAIN']) as v (verb)
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
            and has_table_privilege(r.rolname, c.oid, v.verb)
        """,
    ),
    _Rule(
        "unrefreshable_view",
        "create a unique index on it: it is refreshed concurrently",
        """
        select format('materialized view %s', c.oid::regclass) from pg_class as c
        where c.relkind = 'm' and c.relnamespace = 'analytics'::regnamespace
            and not exists (
                select from pg_index as i
                where i.indrelid = c.oid and i.indisunique and i.indpred is null and i.indisvalid)
        """,
    ),
)


def own_findings(connection: psycopg.Connection) -> list[Finding]:
    """Check our own rules; every finding fails."""
    return [
        Finding("ERROR", rule.name, str(name), rule.remedy)
        for rule in _RULES
        for (name,) in connection.execute(rule.query.encode())
    ]
