from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("evidence", "0003_authority_and_tile_roots")]
    operations = []
