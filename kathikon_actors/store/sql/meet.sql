SELECT kathikon.meet(
    $1::text::uuid, $2::text, $3::text, $4::integer, $5::integer,
    timestamptz '2000-01-01 00:00Z' + $6::bigint * interval '1 microsecond', $7::text[],
    timestamptz '2000-01-01 00:00Z' + $8::bigint * interval '1 microsecond'
)::text
