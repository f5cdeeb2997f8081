//! Declarations and queries of the benchmark as users of two other systems have
//! them in their files.

use super::*;

/// Every statement of `script` parses.
fn all(script: &str) -> Vec<Statement> {
    split_statements(script)
        .unwrap()
        .into_iter()
        .map(|range| {
            parse_statement(script, range.clone()).unwrap_or_else(|error| {
                panic!("{}\n{:?}", &script[range], error.diagnostic(script))
            })
        })
        .collect()
}

#[test]
fn flink_spellings() {
    let statements = all(r"
        CREATE TABLE bid (
            auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
            `dateTime` TIMESTAMP(3), extra VARCHAR,
            WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND
        ) WITH ('connector' = 'nexmark', 'nexmark.table.type' = 'bid');
        CREATE TABLE nexmark_q0 (auction BIGINT, `dateTime` TIMESTAMP_LTZ(3))
            WITH ('connector' = 'blackhole');
        INSERT INTO nexmark_q0 SELECT auction, `dateTime` FROM bid;
        INSERT INTO nexmark_q1
            SELECT auction, bidder, 0.908 * price as price, `dateTime`, extra FROM bid;
        INSERT INTO nexmark_q2 SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0;
        INSERT INTO nexmark_q5
            SELECT AuctionBids.auction, AuctionBids.num
            FROM (SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
                  FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
                  GROUP BY auction, window_start, window_end) AS AuctionBids
            JOIN (SELECT max(CountBids.num) AS maxn, CountBids.starttime, CountBids.endtime
                  FROM (SELECT count(*) AS num, window_start AS starttime, window_end AS endtime
                        FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
                        GROUP BY auction, window_start, window_end) AS CountBids
                  GROUP BY CountBids.starttime, CountBids.endtime) AS MaxBids
            ON AuctionBids.starttime = MaxBids.starttime AND AuctionBids.endtime = MaxBids.endtime
               AND AuctionBids.num >= MaxBids.maxn;
        INSERT INTO nexmark_q7
            SELECT B.auction, B.price, B.bidder, B.`dateTime`, B.extra
            FROM bid B JOIN (
                SELECT MAX(price) AS maxprice, window_end as `dateTime`
                FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
                GROUP BY window_start, window_end) B1
            ON B.price = B1.maxprice
            WHERE B.`dateTime` BETWEEN B1.`dateTime` - INTERVAL '10' SECOND AND B1.`dateTime`;
        INSERT INTO nexmark_q10
            SELECT auction, DATE_FORMAT(`dateTime`, 'yyyy-MM-dd'), DATE_FORMAT(`dateTime`, 'HH:mm') FROM bid;
        INSERT INTO nexmark_q14
            SELECT auction, bidder, 0.908 * price as price,
                CASE WHEN HOUR(`dateTime`) >= 8 AND HOUR(`dateTime`) <= 18 THEN 'dayTime'
                     WHEN HOUR(`dateTime`) <= 6 OR HOUR(`dateTime`) >= 20 THEN 'nightTime'
                     ELSE 'otherTime' END AS bidTimeType,
                `dateTime`, extra, count_char(extra, 'c') AS c_counts
            FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000;
        INSERT INTO nexmark_q17
            SELECT auction, DATE_FORMAT(`dateTime`, 'yyyy-MM-dd') as `day`, count(*) AS total_bids,
                count(*) filter (where price < 10000) AS rank1_bids, avg(price) AS avg_price
            FROM bid GROUP BY auction, DATE_FORMAT(`dateTime`, 'yyyy-MM-dd');
        INSERT INTO nexmark_q22
            SELECT auction, SPLIT_INDEX(url, '/', 3) as dir1, REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) FROM bid");
    assert!(matches!(statements[0], Statement::CreateTableWithConnector(_)));
    assert!(matches!(statements[1], Statement::CreateTableWithConnector(_)));
    assert!(statements[2..].iter().all(|s| matches!(s, Statement::InsertInto { .. })));
}

#[test]
fn risingwave_spellings() {
    let statements = all(r"
        CREATE SOURCE bid (
            auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR,
            date_time TIMESTAMP, extra VARCHAR
        ) WITH (connector = 'nexmark', nexmark.table.type = 'Bid', nexmark.split.num = '8',
                nexmark.min.event.gap.in.ns = '1000');
        CREATE MATERIALIZED VIEW nexmark_q5 AS
            SELECT AuctionBids.auction, AuctionBids.num FROM (
                SELECT bid.auction, count(*) AS num, window_start AS starttime
                FROM HOP(bid, date_time, INTERVAL '2' SECOND, INTERVAL '10' SECOND)
                GROUP BY window_start, bid.auction) AS AuctionBids
            JOIN (SELECT max(CountBids.num) AS maxn, CountBids.starttime_c FROM (
                    SELECT count(*) AS num, window_start AS starttime_c
                    FROM HOP(bid, date_time, INTERVAL '2' SECOND, INTERVAL '10' SECOND)
                    GROUP BY bid.auction, window_start) AS CountBids
                  GROUP BY CountBids.starttime_c) AS MaxBids
            ON AuctionBids.starttime = MaxBids.starttime_c AND AuctionBids.num >= MaxBids.maxn;
        CREATE MATERIALIZED VIEW nexmark_q7 AS
            SELECT B.auction, B.price, B.bidder, B.date_time FROM bid B
            JOIN (SELECT MAX(price) AS maxprice, window_end as date_time
                  FROM TUMBLE(bid, date_time, INTERVAL '10' SECOND) GROUP BY window_end) B1
            ON B.price = B1.maxprice
            WHERE B.date_time BETWEEN B1.date_time - INTERVAL '10' SECOND AND B1.date_time;
        CREATE MATERIALIZED VIEW nexmark_q10 AS
            SELECT auction, TO_CHAR(date_time, 'YYYY-MM-DD') as date, TO_CHAR(date_time, 'HH:MI') as time FROM bid;
        CREATE MATERIALIZED VIEW nexmark_q18 AS
            SELECT auction, bidder, price FROM (
                SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) AS rank_number
                FROM bid) WHERE rank_number <= 1;
        CREATE SINK nexmark_q22 AS
            SELECT auction, split_part(url, '/', 4) as dir1, (regexp_match(url, '(&|^)channel_id=([^&]*)'))[2] AS id
            FROM bid WITH (connector = 'blackhole', type = 'append-only', force_append_only = 'true')");
    assert_eq!(statements.len(), 6);
    let Statement::CreateSource(source) = &statements[0] else { panic!("no source") };
    assert_eq!(source.option("nexmark.table.type").unwrap().value, "Bid");
}
