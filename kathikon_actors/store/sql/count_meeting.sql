SELECT (SELECT count(*) FROM kathikon.jobs WHERE /* meets */)
    + (SELECT count(*) FROM kathikon.finished_jobs WHERE /* meets */)
