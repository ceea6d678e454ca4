from django_qstash import shared_task


@shared_task
def of_the_settings_package():
    """Found because it stands beside the settings."""
