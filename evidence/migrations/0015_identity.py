"""Who a CI job is by its id-token, what a token leaves of its owner's rights, and pipelines that sign together."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import evidence.models.trust

_EMPTY_MEANS_TOKEN = "Empty: all of its owner's"
_EMPTY_MEANS_POLICY = "Empty: all of the pipeline's"


def _texts(length, meaning):
    return django.contrib.postgres.fields.ArrayField(
        base_field=models.CharField(max_length=length), blank=True, default=list, help_text=meaning, size=None
    )


class Migration(migrations.Migration):
    dependencies = [("evidence", "0014_uploads_and_repeats")]
    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.AddField(
            model_name="pipeline",
            name="signatures_required",
            field=models.PositiveSmallIntegerField(
                default=0,
                help_text="How many of its keys have to sign each record. 0: it may also post unsigned.",
                validators=[django.core.validators.MaxValueValidator(16)],
            ),
        ),
        migrations.AlterField(
            model_name="pipelinekey",
            name="key_id",
            field=models.CharField(
                help_text="SHA-256 of the public key, hex", max_length=64, primary_key=True, serialize=False
            ),
        ),
        migrations.CreateModel(
            name="TrustPolicy",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=evidence.models.trust.new_policy_id,
                        editable=False,
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.SlugField(max_length=80, unique=True)),
                ("issuer", models.CharField(help_text="As the token's iss says it: https://…", max_length=500)),
                ("audience", models.CharField(help_text="The token's aud, and nothing beside it", max_length=500)),
                ("claims", models.JSONField(default=dict)),
                ("systems", _texts(40, _EMPTY_MEANS_POLICY)),
                ("kinds", _texts(60, _EMPTY_MEANS_POLICY)),
                ("is_active", models.BooleanField(default=True)),
                ("changed_by", models.BigIntegerField(help_text="Index of the record that says so")),
                (
                    "pipeline",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="policies", to="evidence.pipeline"
                    ),
                ),
            ],
            options={
                "verbose_name": "trust policy",
                "verbose_name_plural": "trust policies",
                "ordering": ["name"],
                "indexes": [models.Index(fields=["issuer"], name="trustpolicy_of_issuer")],
            },
        ),
        migrations.CreateModel(
            name="UsedIdToken",
            fields=[
                ("digest", models.BinaryField(max_length=32, primary_key=True, serialize=False)),
                ("expires_at", models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name="TokenUse",
            fields=[
                (
                    "token",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="use",
                        serialize=False,
                        to="evidence.token",
                    ),
                ),
                ("last_used_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="token", name="claims", field=models.JSONField(blank=True, default=dict)
        ),
        migrations.AddField(model_name="token", name="kinds", field=_texts(60, _EMPTY_MEANS_TOKEN)),
        migrations.AddField(model_name="token", name="systems", field=_texts(40, _EMPTY_MEANS_TOKEN)),
        migrations.AddField(
            model_name="token",
            name="policy",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="tokens",
                to="evidence.trustpolicy",
            ),
        ),
        migrations.AddIndex(
            model_name="token",
            index=models.Index(
                condition=models.Q(("policy__isnull", False)), fields=["expires_at"], name="token_of_policy"
            ),
        ),
    ]
