"""How destinations outside fare: what is away is asked again after a pause, not by every message."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evidence", "0015_identity")]
    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="Circuit",
            fields=[
                ("destination", models.CharField(max_length=60, primary_key=True, serialize=False)),
                ("failures", models.IntegerField(default=0)),
                ("retry_at", models.DateTimeField()),
                ("last_error", models.CharField(blank=True, max_length=500)),
            ],
            options={"ordering": ["destination"]},
        ),
    ]
