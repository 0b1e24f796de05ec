"""NESO Data Portal (CKAN): demand forecasts and outturn, embedded generation, flexibility."""
