"""Views that people keep for themselves, and indexes for the search and the first page."""

import django.contrib.postgres.indexes
from django.db import migrations, models

import exceptions.models.words


class Migration(migrations.Migration):
    dependencies = [
        ("exceptions", "0003_digests_and_chat"),
    ]

    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="SavedView",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("person", models.CharField(help_text="Opaque id", max_length=40)),
                ("name", models.CharField(max_length=60)),
                ("query", models.CharField(help_text="As it stands in the list's address, without the ?", max_length=500)),
                ("saved_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "ordering": ["name"],
                "constraints": [models.UniqueConstraint(fields=("person", "name"), name="saved_view_once")],
            },
        ),
        migrations.AddIndex(
            model_name="securityexception",
            index=django.contrib.postgres.indexes.GinIndex(
                exceptions.models.words.Words("title", "owner_name", "reference"), name="exception_words"
            ),
        ),
        migrations.AddIndex(
            model_name="securityexception",
            index=django.contrib.postgres.indexes.GinIndex(fields=["requirements"], name="exception_requirements"),
        ),
        migrations.AddIndex(
            model_name="securityexception",
            index=models.Index(
                condition=models.Q(("renewal_pending", True)), fields=["requested_at"], name="exception_renewal_waits"
            ),
        ),
        migrations.AddIndex(
            model_name="securityexception",
            index=models.Index(fields=["requester"], name="exception_requester"),
        ),
        migrations.AddIndex(
            model_name="transition",
            index=models.Index(
                condition=models.Q(("kind", "exception.amended")), fields=["by"], name="transition_amended"
            ),
        ),
    ]
