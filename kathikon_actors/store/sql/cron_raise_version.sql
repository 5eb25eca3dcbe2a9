UPDATE kathikon.cron_version SET version = version + 1
