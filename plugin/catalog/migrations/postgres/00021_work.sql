-- +goose Up
-- What each daemon did for the images of each project, beside the report's other sums; host is the daemon's instance.
-- project is '' where it was not noted. outcome is '' in the rows that fills are summed in.
CREATE TABLE work_stats (
    minute BIGINT NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    requests BIGINT NOT NULL,
    downloads BIGINT NOT NULL,
    saved_bytes BIGINT NOT NULL,
    took BIGINT NOT NULL,
    fills BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    source_bytes BIGINT NOT NULL,
    PRIMARY KEY (minute, host, project, outcome)
);
