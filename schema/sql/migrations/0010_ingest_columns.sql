-- The second way in, for many rows of one table: by columns.
--
-- ingest() reads one JSON object a row, which takes as long as storing it does. Here names of
-- columns and values that all rows share come once, and every other column is one array literal.
-- What is stored, by which rules, is the same: the id decides what is the same row, versioned
-- tables keep the newer version, append-only tables keep what they have.
--
-- The statement is made from the catalogue: columns, their types and defaults, and the natural
-- key, which is the constraint <table>_key. It is planned once a part, and a part has thousands of
-- rows. Only names that the catalogue knows come into it, and all values are parameters.

create function public.ingest_columns(p_parts jsonb) returns jsonb
language plpgsql set search_path = ''
as $$
declare
    v_tables constant text[] := array[
        'grid_snapshots', 'carbon_intensity_national', 'carbon_intensity_regional',
        'generation_mix_national', 'generation_mix_regional', 'demand_forecast_national',
        'demand_actual_national', 'demand_regional', 'wholesale_prices', 'flexibility_prices',
        'api_logs'
    ];
    v_counts jsonb := '{}';
    v_count bigint;
    v_part jsonb;
    v_table text;
    v_relation regclass;
    v_key smallint[];
    v_names text;
    v_values text;
    v_arrays text;
    v_columns text;
    v_order text;
    v_changes text;
    v_unknown text;
    v_statement text;
    v_attempt integer;
begin
    if jsonb_typeof(p_parts) is distinct from 'array' then
        raise exception 'ingest_columns takes an array of parts, got %',
            coalesce(jsonb_typeof(p_parts), 'null') using errcode = '22023';
    end if;
    for v_part in select * from jsonb_array_elements(p_parts) loop
        v_table := v_part ->> 'table';
        if v_table is null or v_table <> all (v_tables) then
            raise exception 'ingest_columns knows no table "%"', v_table using errcode = '42P01',
                hint = 'Is this database behind the program? Run "run_cluster.py db migrate".';
        end if;
        if jsonb_typeof(v_part -> 'all') is distinct from 'object'
            or jsonb_typeof(v_part -> 'each') is distinct from 'object'
            or not (v_part -> 'each') ? 'id'
        then
            raise exception 'a part of "%" has no objects "all" and "each", or no ids', v_table
                using errcode = '22023';
        end if;
        v_relation := format('public.%I', v_table)::regclass;
        -- Without the constraint it works as well: an id never changes its key.
        v_key := coalesce(
            (
                select c.conkey from pg_catalog.pg_constraint as c
                where c.conrelid = v_relation and c.conname = v_table || '_key'
            ),
            '{}'
        );

        -- $1 holds the array literals, $2 the values that all rows share.
        select
            string_agg(g.name, ', ' order by g.name) filter (where a.attnum is null),
            string_agg(format('%I', g.name), ', ' order by a.attnum),
            string_agg(
                case when d.adbin is null then v.value
                else format('coalesce(%s, %s)', v.value, pg_get_expr(d.adbin, d.adrelid)) end,
                ', ' order by a.attnum
            ),
            string_agg(
                format('($1 ->> %L)::%s[] as %I', g.name, y.name, g.name),
                ', ' order by a.attnum
            ) filter (where g.each),
            string_agg(format('unnest(p.%1$I) as %1$I', g.name), ', ' order by a.attnum)
                filter (where g.each),
            string_agg(
                format('x.%I', g.name), ', ' order by array_position(v_key, a.attnum)
            ) filter (where g.each and a.attnum = any (v_key)),
            string_agg(format('%1$I = excluded.%1$I', g.name), ', ' order by a.attnum)
                filter (where g.name <> 'id' and a.attnum <> all (v_key))
        into v_unknown, v_names, v_values, v_arrays, v_columns, v_order, v_changes
        from (
            select e.name, true as each from jsonb_object_keys(v_part -> 'each') as e (name)
            union all
            select e.name, false from jsonb_object_keys(v_part -> 'all') as e (name)
        ) as g
        left join pg_catalog.pg_attribute as a
            on a.attrelid = v_relation and a.attname = g.name and a.attnum > 0
            and not a.attisdropped and a.attname not in ('recorded_at', 'updated_at')
        left join pg_catalog.pg_attrdef as d
            on d.adrelid = a.attrelid and d.adnum = a.attnum
        cross join lateral (select format_type(a.atttypid, a.atttypmod)) as y (name)
        cross join lateral (
            select
                case when g.each then format('x.%I', g.name)
                else format('($2 ->> %L)::%s', g.name, y.name) end
        ) as v (value);
        if v_unknown is not null then
            raise exception 'table "%" takes no column %', v_table, v_unknown
                using errcode = '42703',
                hint = 'Is this database behind the program? Run "run_cluster.py db migrate".';
        end if;
        -- Sorted by the natural key, like the rows of ingest(): see there. The arrays are read in
        -- a subquery that stays one ("offset 0"): else the planner would read each of them once
        -- more, to guess its length.
        v_statement := format(
            'insert into public.%I as t (%s) select %s '
            'from (select %s offset 0) as p cross join lateral (select %s) as x%s '
            'on conflict (id) do %s',
            v_table, v_names, v_values, v_arrays, v_columns, ' order by ' || coalesce(v_order, 'x.id'),
            case when exists (
                select from pg_catalog.pg_attribute as a
                where a.attrelid = v_relation and a.attname = 'version' and not a.attisdropped
            ) then format(
                'update set %s, updated_at = now() where excluded.version > t.version', v_changes)
            else 'nothing' end
        );
        v_attempt := 1;
        loop
            begin
                execute v_statement using v_part -> 'each', v_part -> 'all';
                get diagnostics v_count = row_count;
                exit;
            exception when unique_violation then
                -- As in ingest(): a second attempt sees what another call has committed by now.
                if v_attempt >= 2 then
                    raise;
                end if;
                v_attempt := v_attempt + 1;
            end;
        end loop;
        v_counts := v_counts || jsonb_build_object(
            v_table, coalesce((v_counts ->> v_table)::bigint, 0) + v_count);
    end loop;
    return v_counts;
end
$$;
comment on function public.ingest_columns(jsonb) is
    'Stores parts [{"table", "all": {column: value}, "each": {column: "{array literal}"}}] one '
    'after the other in one transaction, and returns how many rows of each table it wrote. For '
    'readings and request logs; no id twice in one part. Same rules as ingest(). Service role '
    'only.';
revoke execute on function public.ingest_columns(jsonb)
    from public, anon, authenticated, service_role;
grant execute on function public.ingest_columns(jsonb) to service_role;

create or replace function public.schema_version() returns integer
language sql immutable parallel safe set search_path = ''
as $$ select 10 $$;
