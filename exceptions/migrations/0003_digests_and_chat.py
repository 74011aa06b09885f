"""Reminders as rows of the common outbox, in digests and to chat channels."""

import django.contrib.postgres.fields
from django.db import migrations, models

import exceptions.models.chat


class Migration(migrations.Migration):
    dependencies = [("exceptions", "0002_imports")]
    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="ChatChannel",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=exceptions.models.chat.new_channel_id,
                        editable=False,
                        max_length=24,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=80, unique=True)),
                ("origin", models.CharField(max_length=300)),
                ("sealed_url", models.BinaryField()),
                ("sealed_secret", models.BinaryField()),
                (
                    "systems",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40),
                        blank=True,
                        default=list,
                        help_text="Empty: all",
                        size=None,
                    ),
                ),
                ("is_active", models.BooleanField(default=True)),
                ("changed_by", models.BigIntegerField(help_text="Index of the record that says so")),
                ("last_delivered_at", models.DateTimeField(null=True)),
                ("last_failed_at", models.DateTimeField(null=True)),
                ("last_error", models.CharField(blank=True, max_length=500)),
            ],
            options={"ordering": ["name"], "verbose_name": "chat channel"},
        ),
        migrations.AlterField(
            "reminder",
            "state",
            models.CharField(
                choices=[
                    ("waiting", "Waiting"),
                    ("delivered", "Delivered"),
                    ("failed", "Failed"),
                    ("dropped", "No longer needed"),
                ],
                default="waiting",
                max_length=10,
            ),
        ),
        migrations.AddField("reminder", "message_id", models.CharField(blank=True, default="", max_length=200), False),
        migrations.AddField("reminder", "carried", models.IntegerField(default=1)),
        migrations.AddIndex(
            "reminder",
            models.Index(
                fields=["id"],
                condition=models.Q(("record_index", None), ("state__in", ["delivered", "failed"])),
                name="reminder_to_record",
            ),
        ),
        migrations.AddIndex("reminder", models.Index(fields=["recipient", "created_at"], name="reminder_of_recipient")),
    ]
