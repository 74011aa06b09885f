"""How far an upload is, under which exception a file was let through, and how often a record was asked for again."""

import django.contrib.postgres.fields
from django.db import migrations, models

LOCK = "SET LOCAL lock_timeout = '5s'"


class Migration(migrations.Migration):
    dependencies = [("evidence", "0013_search_indexes")]
    operations = [
        migrations.RunSQL(LOCK, migrations.RunSQL.noop),
        migrations.AddField("artifact", "kind", models.CharField(blank=True, default="", max_length=60)),
        migrations.AddField("artifact", "waived_by", models.CharField(blank=True, default="", max_length=200)),
        migrations.AddField("artifact", "upload_id", models.CharField(blank=True, default="", max_length=300)),
        migrations.AddField(
            "artifact",
            "part_sha256",
            django.contrib.postgres.fields.ArrayField(models.CharField(max_length=64), default=list, size=None),
        ),
        migrations.AddField("artifact", "checked", models.BigIntegerField(default=0)),
        migrations.AddField("artifact", "tended_at", models.DateTimeField(null=True)),
        migrations.AddIndex(
            "artifact",
            models.Index(
                fields=["state", "tended_at"],
                name="artifact_unfinished",
                condition=models.Q(("state__in", ["incoming", "checking"])),
            ),
        ),
        migrations.CreateModel(
            name="Repeat",
            fields=[
                ("index", models.BigIntegerField(primary_key=True, serialize=False)),
                ("replays", models.BigIntegerField(default=0)),
                ("refusals", models.BigIntegerField(default=0)),
                ("last_at", models.DateTimeField()),
            ],
            options={"db_table": "evidence_repeat"},
        ),
    ]
