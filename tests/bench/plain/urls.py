from django.urls import path
from rest_framework import generics, serializers
from rest_framework.parsers import JSONParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer

from config import health
from tests.bench.plain.models import Evidence


class EvidenceSerializer(serializers.ModelSerializer[Evidence]):
    class Meta:
        model = Evidence
        fields = ["id", "kind", "release", "body", "received_at"]


class EvidenceCreate(generics.CreateAPIView[Evidence]):
    queryset = Evidence._default_manager.all()
    serializer_class = EvidenceSerializer
    authentication_classes = []
    permission_classes = [AllowAny]
    parser_classes = [JSONParser]
    renderer_classes = [JSONRenderer]


urlpatterns = [path("evidence", EvidenceCreate.as_view()), path("healthz", health.live)]
