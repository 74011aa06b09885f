from django.db import migrations, models


class Migration(migrations.Migration):
    """What the column may say in words; the table stays as it is."""

    dependencies = [("compliance", "0002_retention_reports")]

    operations = [
        migrations.AlterField(
            model_name="report",
            name="kind",
            field=models.CharField(choices=[("monthly", "Monthly"), ("release", "Release digest")], max_length=20),
        ),
        migrations.AlterField(
            model_name="report",
            name="period",
            field=models.CharField(help_text="Month, as in 2026-03, or day", max_length=10),
        ),
    ]
