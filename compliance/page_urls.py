from django.urls import path

from compliance import pages

urlpatterns = [
    path("", pages.index, name="reports-home"),
    path("monthly/", pages.monthly_page, name="report-monthly"),
    path("monthly.pdf", pages.monthly_pdf, name="report-monthly-pdf"),
    path("mail/", pages.request_mail, name="report-mail"),
    path("sent/<str:report_id>.pdf", pages.sent_pdf, name="report-sent-pdf"),
    path("sent/<str:report_id>/again/", pages.send_again, name="report-send-again"),
]
