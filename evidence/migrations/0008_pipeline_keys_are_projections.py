"""A pipeline's key is known by its digest: what `key.*` records say is recomputed, and a row's key must follow from it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evidence", "0007_guard_holds_and_files")]
    operations = [
        migrations.RemoveField(model_name="pipelinekey", name="id"),
        migrations.AlterField(
            model_name="pipelinekey",
            name="key_id",
            field=models.CharField(
                help_text="SHA-256 of the raw public key, hex", max_length=64, primary_key=True, serialize=False
            ),
        ),
    ]
