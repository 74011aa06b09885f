from django.urls import path, re_path

from evidence.api import artifacts, auth, batch, gate, kinds, log, readiness, records, releases, tiles, tokens

urlpatterns = [
    path("records", records.collection, name="records"),
    path("records/batch", batch.records_batch, name="records-batch"),
    path("records/<int:index>", records.RecordDetail.as_view(), name="record"),
    path("records/<int:index>/proof", records.RecordProof.as_view(), name="record-proof"),
    path("kinds", kinds.KindList.as_view(), name="kinds"),
    path("kinds/<str:name>", kinds.KindDetail.as_view(), name="kind"),
    path("releases", releases.ReleaseList.as_view(), name="releases"),
    path("releases/<str:release_id>", releases.ReleaseDetail.as_view(), name="release"),
    path("releases/<str:release_id>/timeline", releases.ReleaseTimeline.as_view(), name="release-timeline"),
    path("releases/<str:release_id>/approvals", releases.ReleaseApprovals.as_view(), name="release-approvals"),
    path("releases/<str:release_id>/checklist", readiness.ReleaseChecklist.as_view(), name="release-checklist"),
    path("releases/<str:release_id>/plan", readiness.ReleasePlan.as_view(), name="release-plan"),
    path("releases/<str:release_id>/deployments", readiness.ReleaseDeployments.as_view(), name="release-deployments"),
    path("releases/<str:release_id>/difference", readiness.ReleaseDifference.as_view(), name="release-difference"),
    path("deployments", readiness.DeploymentList.as_view(), name="deployments"),
    path("releases/<str:release_id>/gate", gate.ReleaseGate.as_view(), name="release-gate"),
    path("artifacts", artifacts.ArtifactList.as_view(), name="artifacts"),
    re_path(r"^artifacts/(?P<sha256>[0-9a-f]{64})$", artifacts.ArtifactDetail.as_view(), name="artifact"),
    re_path(
        r"^artifacts/(?P<sha256>[0-9a-f]{64})/confirm$", artifacts.ArtifactConfirm.as_view(), name="artifact-confirm"
    ),
    path("log/checkpoint", log.LogCheckpoint.as_view(), name="log-checkpoint"),
    path("log/tile/<path:path>", tiles.LogTile.as_view(), name="log-tile"),
    path("log/keys", log.LogKeys.as_view(), name="log-keys"),
    path("log/consistency", log.LogConsistency.as_view(), name="log-consistency"),
    path("auth/oidc", auth.OidcExchange.as_view(), name="auth-oidc"),
    path("tokens", tokens.TokenList.as_view(), name="tokens"),
    path("tokens/<str:token_id>/revoke", tokens.TokenRevoke.as_view(), name="token-revoke"),
]
