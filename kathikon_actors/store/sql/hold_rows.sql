SELECT FROM kathikon.jobs WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE
