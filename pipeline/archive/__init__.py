"""ClickHouse: tables, migrations, the sink and its batch records."""
