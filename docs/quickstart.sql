-- Bids of an auction site, made as they are read: 10,000 events a second, a
-- millisecond of event time apart, so that event time runs ten times as fast as the
-- clock. No columns are declared: the connector brings its own.
CREATE SOURCE bid WITH (
    connector = 'nexmark',
    nexmark.table.type = 'bid',
    nexmark.event.rate = 10000,
    nexmark.event.gap.ns = 1000000
);

-- Kept up to date from now on, ten times a second.
CREATE MATERIALIZED VIEW bids_per_window AS
SELECT window_start, window_end, count(*) AS bids, max(price) AS highest, avg(price) AS mean
FROM TUMBLE(bid, date_time, INTERVAL '10 seconds')
GROUP BY window_start, window_end;
