"""One's own tokens for the command line: made here, shown once, ended here."""

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget

from evidence.admin.forms import LedgerForm, ReasonForm, actor, form_page, person, text_input, written
from evidence.admin.forms import page as admin_page
from evidence.models import Token
from evidence.people import issue_token, revoke_token

DAYS = [(1, "1 day"), (7, "7 days"), (30, "30 days"), (90, "90 days")]


class TokenForm(LedgerForm):
    label = forms.CharField(
        max_length=120,
        widget=text_input(placeholder="my laptop"),
        help_text="Where it will be used, so that you know which one to end.",
    )
    days = forms.TypedChoiceField(
        label="Valid for", coerce=int, choices=DAYS, initial=7, widget=UnfoldAdminSelectWidget(choices=DAYS)
    )


def page(request: HttpRequest) -> HttpResponse:
    """One's own tokens, and the form for a new one."""
    owner = person(request)
    form = TokenForm(request.POST or None)
    if request.method == "POST":
        new = written(
            form,
            lambda: issue_token(
                owner,
                actor=actor(request),
                label=form.cleaned_data["label"],
                days=form.cleaned_data["days"],
                scopes=["person"],
                idempotency=form.idempotency(request),
            ),
        )
        if new is not None and Token.objects.filter(pk=new.token.pk).exists():
            return admin_page(
                request, "evidence/token_new.html", title="Your new token", new=new, url=settings.PROOFTRAIL_URL
            )
        if new is not None:  # the same form sent twice: the first one's token was shown
            messages.warning(request, "This form was sent already. Its token was shown once; make another if needed.")
            return HttpResponseRedirect(reverse("admin:tokens"))
    tokens = owner.tokens.select_related("use").order_by("-created_at")[:100]
    return admin_page(request, "evidence/tokens.html", title="My tokens", form=form, tokens=tokens, now=timezone.now())


def revoke(request: HttpRequest, token_id: str) -> HttpResponse:
    token = Token.objects.filter(pk=token_id, user=person(request), revoked_at=None).first()
    if token is None:
        raise Http404("you have no such token")
    form = ReasonForm(request.POST or None)
    if (
        request.method == "POST"
        and written(form, lambda: revoke_token(token, actor=actor(request), reason=form.cleaned_data["reason"]))
        is not None
    ):
        messages.success(request, f"The token {token.label or token.pk} no longer works.")
        return HttpResponseRedirect(reverse("admin:tokens"))
    return form_page(
        request,
        form,
        title="End a token",
        lead=f"The token “{token.label or token.pk}” stops working now, also for requests that are under way.",
        submit="End this token",
        danger=True,
        cancel=reverse("admin:tokens"),
    )
