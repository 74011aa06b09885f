"""People are asked once more where a release was deployed without their sign-off."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evidence", "0016_circuits")]
    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.RemoveConstraint("signoffrequest", "signoff_request_once"),
        migrations.AddField(
            "signoffrequest",
            "deployment",
            models.BigIntegerField(null=True, help_text="Index of the emergency deploy that owes the decision"),
        ),
        migrations.AddConstraint(
            "signoffrequest",
            models.UniqueConstraint(
                fields=["release", "manifest_digest", "deployment", "recipient"],
                name="signoff_request_once",
                nulls_distinct=False,
            ),
        ),
    ]
