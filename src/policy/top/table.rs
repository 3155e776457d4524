//! The servers as lines of a table.

use std::cmp::Reverse;

use super::figures::{UNKNOWN, count, limited, rate, time};
use super::line::{Line, Look};
use super::rates::Rates;
use super::reply::Server;

/// The columns between the name and the reason: their titles, and how many characters they have at least. A wider value widens its
/// column. So numbers that change seldom move the columns.
const COLUMNS: [(&str, usize); 8] =
    [("STATE", 11), ("FOR", 4), ("CONN", 6), ("NEW/S", 5), ("FAIL/S", 6), ("IN/S", 5), ("OUT/S", 5), ("WEIGHT", 6)];

/// The title of the column of numbers, and of that of names.
const NUMBER: &str = "NO";
const NAME: &str = "SERVER";

/// A name is not cut below this, in columns: an IPv4 address with a port has up to 21.
const SHORTEST_NAME: usize = 12;

/// A server with its rates.
pub type Row<'a> = (&'a Server, &'a Rates);

/// The room for a table.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Columns of a line.
    pub columns: usize,
    /// Lines, the titles included.
    pub lines: usize,
}

/// The table: the titles, and a line for each server, with a second one for its reason if there is no room for that. If not all servers
/// fit, those come first that need attention, and the last line tells how many are left out.
pub fn table(rows: &[Row<'_>], room: Room) -> Vec<Line> {
    let cells: Vec<_> = rows.iter().map(cells).collect();
    let widest = |column: usize| cells.iter().map(|cells| cells[column].len()).max().unwrap_or(0);
    let mut widths: Vec<_> = COLUMNS.iter().enumerate().map(|(at, (_, least))| widest(at).max(*least)).collect();
    let number = rows.iter().map(|(server, _)| server.number.to_string().len()).max().unwrap_or(0).max(NUMBER.len());
    // A blank stands between two columns.
    let others = number + 1 + widths.iter().map(|width| width + 1).sum::<usize>();
    let name = rows.iter().map(|(server, _)| server.name.len()).max().unwrap_or(0).max(NAME.len());
    let name = name.min(room.columns.saturating_sub(others).max(SHORTEST_NAME));
    let reason = rows.iter().filter_map(|(server, _)| server.reason.as_ref().map(String::len)).max().unwrap_or(0);
    let is_beside = others + name + 1 + reason <= room.columns;
    widths.insert(0, name);

    let mut titles = format!("{NUMBER:>number$} {NAME:name$}");
    for (at, ((title, _), width)) in COLUMNS.iter().zip(&widths[1..]).enumerate() {
        titles += &aligned(at, title, *width);
    }
    if is_beside && reason > 0 {
        titles += " REASON";
    }
    let mut lines = vec![Line::new(Look::Title, titles)];
    let render = |at: usize| {
        let (server, _) = rows[at];
        let mut line = Line::new(Look::Plain, format!("{:>number$} {:name$}", server.number, shortened(server, name)));
        for (column, (cell, width)) in cells[at].iter().zip(&widths[1..]).enumerate() {
            line.push(if column == 0 { look(server) } else { Look::Plain }, aligned(column, cell, *width));
        }
        match &server.reason {
            None => vec![line],
            Some(reason) if is_beside => {
                line.push(Look::Plain, format!(" {reason}"));
                vec![line]
            }
            Some(reason) => vec![line, Line::new(Look::Plain, format!("{:number$} {reason}", ""))],
        }
    };
    let rendered: Vec<_> = (0..rows.len()).map(render).collect();
    if rendered.iter().map(Vec::len).sum::<usize>() < room.lines {
        lines.extend(rendered.into_iter().flatten());
        return lines;
    }
    let mut order: Vec<_> = (0..rows.len()).collect();
    order.sort_by_key(|at| urgency(&rows[*at]));
    // The titles and the last line have their places.
    let mut left = room.lines.saturating_sub(2);
    let mut left_out = rows.len();
    for at in order {
        if rendered[at].len() > left {
            break;
        }
        left -= rendered[at].len();
        left_out -= 1;
        lines.extend(rendered[at].iter().cloned());
    }
    lines.push(Line::new(Look::Title, format!("{left_out} more")));
    lines
}

/// How many servers are in which state, the states in the order of their urgency.
pub fn states(servers: &[Server]) -> String {
    let mut words: Vec<_> = servers.iter().filter_map(|server| server.state.as_deref()).collect();
    words.sort_by_key(|word| (rank(Some(word)), *word));
    let counted = words.chunk_by(|a, b| a == b).map(|same| format!("{} {}", same.len(), same[0]));
    counted.collect::<Vec<_>>().join(", ")
}

fn cells((server, rates): &Row<'_>) -> [String; COLUMNS.len()] {
    [
        server.state.clone().unwrap_or_else(|| String::from(UNKNOWN)),
        time(server.since),
        limited(server.connections, server.max),
        rate(rates.connections),
        rate(rates.failed),
        rate(rates.sent),
        rate(rates.received),
        count(server.weight),
    ]
}

/// The first column has words, the others have numbers.
fn aligned(column: usize, cell: &str, width: usize) -> String {
    if column == 0 { format!(" {cell:width$}") } else { format!(" {cell:>width$}") }
}

/// The name in that many columns; its end is the part that differs.
fn shortened(server: &Server, width: usize) -> String {
    let name = &server.name;
    if name.len() <= width {
        return name.clone();
    }
    format!("..{}", &name[name.len() - width.saturating_sub(2)..])
}

fn look(server: &Server) -> Look {
    match server.state.as_deref() {
        Some("up") => Look::Good,
        Some("down" | "unresolved") => Look::Bad,
        Some("blacklisted" | "full") => Look::Warning,
        Some("drain" | "maint") => Look::Idle,
        _ => Look::Plain,
    }
}

/// The place of a state in the order of urgency. Servers that are up come last.
fn rank(state: Option<&str>) -> u8 {
    match state {
        Some("down" | "unresolved") => 0,
        Some("blacklisted") => 1,
        Some("full") => 2,
        Some("drain" | "maint") => 3,
        Some("up") => 5,
        _ => 4,
    }
}

/// What sorts servers that need attention first, and the busiest first among equals.
fn urgency((server, rates): &Row<'_>) -> impl Ord + use<> {
    // Thousandths, since floating-point numbers have no order.
    let thousandths = |rate: Option<f64>| Reverse((rate.unwrap_or(0.0) * 1000.0) as u64);
    (
        rank(server.state.as_deref()),
        thousandths(rates.failed),
        Reverse(server.connections),
        thousandths(rates.connections),
        server.number,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Room = Room { columns: 200, lines: 100 };

    fn server(number: u64, state: &str, reason: Option<&str>) -> Server {
        Server {
            number,
            name: format!("10.0.0.{number}:80"),
            state: Some(state.to_string()),
            reason: reason.map(String::from),
            since: Some(5),
            connections: Some(number),
            max: Some(0),
            weight: Some(1),
            ..Server::default()
        }
    }

    fn text(servers: &[Server], room: Room) -> Vec<String> {
        let rates = Rates::default();
        let rows: Vec<_> = servers.iter().map(|server| (server, &rates)).collect();
        table(&rows, room).iter().map(Line::text).collect()
    }

    #[test]
    fn a_server_has_a_line() {
        let servers = [server(0, "up", None), server(1, "down", Some("connection refused"))];
        assert_eq!(
            text(&servers, WIDE),
            [
                "NO SERVER      STATE        FOR   CONN NEW/S FAIL/S  IN/S OUT/S WEIGHT REASON",
                " 0 10.0.0.0:80 up            5s      0     -      -     -     -      1",
                " 1 10.0.0.1:80 down          5s      1     -      -     -     -      1 connection refused",
            ]
        );
    }

    #[test]
    fn a_reason_without_room_has_a_line_of_its_own() {
        let servers = [server(0, "up", None), server(1, "down", Some("connection refused"))];
        let lines = text(&servers, Room { columns: 80, lines: 100 });
        assert_eq!(lines.len(), 4);
        assert!(lines[0].ends_with("WEIGHT"), "{lines:?}");
        assert_eq!(lines[3], "   connection refused");
    }

    #[test]
    fn servers_that_need_attention_come_first_if_not_all_fit() {
        let mut servers: Vec<_> = (0..1000).map(|number| server(number, "up", None)).collect();
        servers[700] = server(700, "down", Some("timeout"));
        servers[500] = server(500, "blacklisted", None);
        servers[300].name = String::from("busy");
        servers[300].connections = Some(5000);
        let lines = text(&servers, Room { columns: 80, lines: 8 });
        let starts: Vec<_> = lines.iter().map(|line| line[..7].trim()).collect();
        assert_eq!(starts, ["NO SER", "700 10.", "tim", "500 10.", "300 bus", "999 10.", "998 10.", "995 mor"]);
        // They keep the order of their numbers if all fit.
        let lines = text(&servers, Room { columns: 80, lines: 1002 });
        assert_eq!(lines.len(), 1002);
        assert!(lines[301].starts_with("300 busy"), "{}", lines[301]);
    }

    #[test]
    fn a_long_name_is_cut_at_its_start() {
        let mut long = server(0, "up", None);
        long.name = format!("/run/{}/the-end.sock", "x".repeat(100));
        let lines = text(&[long], Room { columns: 80, lines: 10 });
        assert_eq!(lines[1].len(), 80);
        assert!(lines[1].contains("/the-end.sock up"), "{}", lines[1]);
    }

    #[test]
    fn any_room_will_do() {
        let servers = [server(0, "up", None), server(1, "down", Some("connection refused"))];
        for columns in 0..100 {
            for lines in 0..6 {
                let shown = text(&servers, Room { columns, lines });
                assert!(shown.len() <= lines.max(2), "{columns} {lines}: {shown:?}");
            }
        }
    }

    #[test]
    fn states_are_counted() {
        let servers = [server(0, "up", None), server(1, "down", None), server(2, "up", None), server(3, "odd", None)];
        assert_eq!(states(&servers), "1 down, 1 odd, 2 up");
        assert_eq!(states(&[Server::default()]), "");
    }
}
