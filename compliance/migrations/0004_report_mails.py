"""What came of each message of a report, and which record says so; reports from before are told of by theirs."""

from django.db import migrations, models

RECORDED = """
UPDATE compliance_reportmail AS mail
   SET record_index = report.index,
       outcome = CASE mail.outcome WHEN 'sending' THEN 'outcome unknown: not sent twice' ELSE mail.outcome END
  FROM compliance_report AS report
 WHERE report.id = mail.report_id AND report.index IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        ("compliance", "0003_release_digest"),
    ]

    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.AlterModelOptions("reportmail", {"ordering": ["recipient"]}),
        migrations.AddField("reportmail", "refusals", models.SmallIntegerField(default=0)),
        migrations.AddField(
            "reportmail",
            "record_index",
            models.BigIntegerField(null=True, help_text="Index of the report.sent record that tells of it"),
        ),
        migrations.RunSQL(RECORDED, migrations.RunSQL.noop),
    ]
