from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evidence", "0011_tiles_from_entries")]

    operations = [
        migrations.CreateModel(
            name="SignOffRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("recipient", models.CharField(help_text="Opaque id", max_length=40)),
                (
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
                ("attempts", models.SmallIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField()),
                ("last_error", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(null=True)),
                ("release", models.CharField(max_length=200)),
                ("manifest_digest", models.CharField(max_length=80)),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("release", "manifest_digest", "recipient"), name="signoff_request_once"
                    )
                ],
                "indexes": [
                    # to_send, each round
                    models.Index(
                        condition=models.Q(("state", "waiting")), fields=["next_attempt_at"], name="signoff_to_send"
                    )
                ],
            },
        ),
    ]
