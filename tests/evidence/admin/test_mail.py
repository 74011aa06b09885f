"""Mail kept as files: listed, shown without running anything, never a way to other files."""

import pytest
from django.core.mail import EmailMultiAlternatives


@pytest.fixture
def sent(mailbox):
    for number in (1, 2):
        mail = EmailMultiAlternatives(f"Exception {number} ends in 6 days", "Renew <it>.", to=["lea@example.com"])
        mail.attach_alternative("<p onclick=x>Renew</p><script>alert(1)</script>", "text/html")
        mail.attach("../../report.pdf", b"%PDF-1.7", "application/pdf")
        mail.send()
    return sorted(path.name for path in mailbox.glob("*.eml"))


def test_it_lists_the_newest_first(as_, sent):
    page = as_("root").get("/admin/mail/").content.decode()
    assert page.index("Exception 2 ends") < page.index("Exception 1 ends")
    assert "lea@example.com" in page


def test_it_shows_text_html_and_attachment(as_, sent):
    root = as_("root")
    page = root.get(f"/admin/mail/{sent[0]}/").content.decode()
    assert "Renew &lt;it&gt;." in page
    assert 'sandbox=""' in page
    assert "<script>alert(1)</script>" not in page
    assert "default-src &#x27;none&#x27;" in page
    attachment = root.get(f"/admin/mail/{sent[0]}/0/")
    assert attachment.content == b"%PDF-1.7"
    assert attachment["Content-Disposition"] == 'attachment; filename=".._.._report.pdf"'
    assert root.get(f"/admin/mail/{sent[0]}/1/").status_code == 404


@pytest.mark.parametrize("name", ["..", "%2e%2e%2fsecret.eml", "....//secret.eml", "nothing.eml", "*.eml"])
def test_it_opens_no_other_file(as_, sent, mailbox, name):
    (mailbox.parent / "secret.eml").write_text("Subject: secret\n\nsecret")
    response = as_("root").get(f"/admin/mail/{name}/", follow=True)
    assert b"secret\n" not in response.content
    assert response.status_code == 404 or response.request["PATH_INFO"] != f"/admin/mail/{name}/"


def test_it_is_there_only_where_mail_is_kept(as_, cast, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    root = as_("root")
    assert root.get("/admin/mail/").status_code == 404
    assert "/admin/mail/" not in root.get("/admin/").content.decode()


def test_it_survives_a_broken_message(as_, mailbox, sent):
    (mailbox / "99999999T000000.000000Z-0.eml").write_bytes(b"\xff\xfe not a mail at all\x00")
    root = as_("root")
    assert root.get("/admin/mail/").status_code == 200
    assert root.get("/admin/mail/99999999T000000.000000Z-0.eml/").status_code == 200
