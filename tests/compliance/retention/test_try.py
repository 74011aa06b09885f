def test_it_runs(ledger, superuser):
    from evidence.models import Head, SigningKey
    print(Head.objects.get(), list(SigningKey.objects.all()))
    print(superuser.execute("select has_database_privilege('prooftrail_runtime', current_database(), 'TEMP')").fetchall(), superuser.execute("select rolname, rolconfig from pg_roles where rolname like 'proof%'").fetchall())
