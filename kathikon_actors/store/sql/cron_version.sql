SELECT version FROM kathikon.cron_version
