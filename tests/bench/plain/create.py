"""``python -m tests.bench.plain.create``: the table, made by the owner role as a migration would make it."""

import django
from django.db import connections


def main() -> None:
    django.setup()
    from tests.bench.plain.models import Evidence  # models exist once Django is set up

    owner, runtime = connections["owner"], connections["default"].settings_dict["USER"]
    table = Evidence._meta.db_table
    if table in owner.introspection.table_names():
        return
    with owner.schema_editor() as editor:
        editor.create_model(Evidence)
        editor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {editor.quote_name(runtime)}")


if __name__ == "__main__":
    main()
