"""Reviews of risks and notices are told together too: which message carried each, and how many with it."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("exceptions", "0008_risk_reviews"),
    ]

    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.AddField("notice", "carried", models.IntegerField(default=1)),
        migrations.AddField("reviewreminder", "carried", models.IntegerField(default=1)),
        migrations.AddField("reviewreminder", "message_id", models.CharField(blank=True, max_length=200)),
        migrations.AddIndex(
            "reviewreminder",
            models.Index(
                fields=["id"],
                condition=Q(state__in=["delivered", "failed"], record_index=None),
                name="review_reminder_to_record",
            ),
        ),
    ]
