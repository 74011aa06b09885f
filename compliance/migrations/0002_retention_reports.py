import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compliance', '0001_packs'),
    ]

    operations = [
        migrations.CreateModel(
            name='HeldObject',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=300)),
                ('version_id', models.CharField(max_length=200)),
                ('since', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('key', 'version_id'), name='held_once_per_version')],
            },
        ),
        migrations.CreateModel(
            name='ObjectErasure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=300)),
                ('version_id', models.CharField(max_length=200)),
                ('sha256', models.CharField(max_length=64)),
                ('size', models.BigIntegerField()),
                ('system', models.CharField(max_length=40)),
                ('disposed_by', models.BigIntegerField(help_text='Index of its retention.disposed record')),
                ('erased_by', models.BigIntegerField(help_text='Index of its retention.erased record', null=True)),
                ('attempts', models.IntegerField(default=0)),
                ('error', models.CharField(blank=True, max_length=300)),
            ],
            options={
                'indexes': [models.Index(fields=['erased_by'], name='erasure_waiting')],
                'constraints': [models.UniqueConstraint(fields=('key', 'version_id'), name='erasure_once_per_version')],
            },
        ),
        migrations.CreateModel(
            name='Report',
            fields=[
                ('id', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('monthly', 'Monthly')], max_length=20)),
                ('period', models.CharField(help_text='Month, as in 2026-03', max_length=10)),
                ('request', models.CharField(blank=True, max_length=40)),
                ('requested_by', models.CharField(help_text='Opaque id', max_length=40)),
                ('requested_at', models.DateTimeField()),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('sent', 'Sent'), ('failed', 'Failed')], default='waiting', max_length=10)),
                ('claimed_until', models.DateTimeField(null=True)),
                ('next_attempt_at', models.DateTimeField()),
                ('attempts', models.IntegerField(default=0)),
                ('error', models.CharField(blank=True, max_length=500)),
                ('pdf', models.BinaryField(null=True)),
                ('pdf_sha256', models.CharField(blank=True, max_length=64)),
                ('sent_at', models.DateTimeField(null=True)),
                ('index', models.BigIntegerField(help_text='Index of its report.sent record', null=True)),
            ],
            options={
                'ordering': ['-requested_at'],
                'constraints': [models.UniqueConstraint(fields=('kind', 'period', 'request'), name='report_once_per_request')],
            },
        ),
        migrations.CreateModel(
            name='ReportMail',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('recipient', models.CharField(help_text='Opaque id', max_length=40)),
                ('sent_at', models.DateTimeField(null=True)),
                ('outcome', models.CharField(blank=True, max_length=200)),
                ('report', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='mails', to='compliance.report')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('report', 'recipient'), name='report_mail_once')],
            },
        ),
    ]
