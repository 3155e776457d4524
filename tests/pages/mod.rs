//! The pages of the web server, rendered without it: well-formed, safe, and whole.
//!
//! With `PEN_PAGES=FOLDER`, a test writes them into files of that folder, to be looked at in a browser.

mod hostile;
mod markup;
mod scene;

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use markup::tags;
use pen::policy::counters::SessionEnd;
use pen::policy::report::item::Item;
use pen::policy::report::page;
use scene::{Scene, TOKEN};

/// Four servers in different states, a thousand clients, and an hour of history.
fn busy() -> Scene {
    let commands = [
        "conn_max 2000",
        "weight",
        "check http /health",
        "emergency 10.0.0.99:80",
        "server 0 address web1.example port 80 max 200 weight 3",
        "server 1 address 10.0.0.12 port 80 weight 2",
        "server 2 address 10.0.0.13 port 8080 weight 1",
        "server 3 address 2001:db8::7 port 443 weight 1",
    ];
    let mut scene = Scene::new("shop", "0.0.0.0:80", &commands.map(String::from));
    scene.look();
    let mut open = Vec::new();
    for minute in 0..125_u32 {
        for client in 0..8 + minute % 5 {
            let number = minute * 13 + client;
            let id = scene.arrive(Ipv4Addr::from(0x0a01_0000 + number)).unwrap();
            if (number + minute / 3) % 41 == 0 {
                let _ = scene.balancer.fail_over(id, false, scene.now);
            }
            let answer = u64::from(9000 + 700 * (number % 29)) * u64::from(20 + (minute * minute) % 31);
            scene.balancer.account(id, u64::from(500 + 40 * (number % 17)), answer);
            open.push(id);
        }
        let ended = open.len().saturating_sub(150 + (minute as usize * 7) % 60);
        for id in open.drain(..ended) {
            let connect = Some(Duration::from_micros(820));
            let end = SessionEnd { connect, cold: id.to_string().ends_with('3'), length: Duration::from_secs(95) };
            scene.balancer.session_ended(id, &end);
            scene.balancer.close(id, scene.now);
        }
        match minute {
            60 => (0..3).for_each(|_| scene.check(1, false, "http: 503 Service Unavailable")),
            80 => scene.command("server 3 drain"),
            _ => {}
        }
        scene.look();
    }
    let used = scene.servers()[2].1.connections;
    scene.command(&format!("server 2 max {used}"));
    scene
}

/// The file of `web_stats`.
fn file(scene: &Scene) -> String {
    let (summary, servers) = (scene.summary(), scene.servers());
    let (clients, connections) = (scene.clients(0).rows, scene.connections(0).rows);
    let servers = servers.iter().map(|(number, server)| Item::Server(*number, server));
    let clients = clients.iter().map(|(number, client)| Item::Client(*number, client));
    let items = [Item::Servers].into_iter().chain(servers).chain([Item::Clients]).chain(clients);
    let items = items.chain([Item::Connections]).chain(connections.iter().map(Item::Connection)).chain([Item::End]);
    items.map(|item| page::html(item, &summary)).collect()
}

fn page(scene: &Scene, name: &str) -> String {
    scene.pages().into_iter().find(|(other, _)| *other == name).unwrap().1
}

#[test]
fn all_pages_are_well_formed() {
    let mut scene = busy();
    let pages = |scene: &Scene| scene.pages().into_iter().chain([("file", file(scene))]).collect::<Vec<_>>();
    for (name, page) in pages(&scene) {
        assert!(page.ends_with("</html>\n"), "{name}");
        let all = tags(&page);
        // What a link or a label points at is there.
        let ids: BTreeSet<_> = values(&page, "id").into_iter().collect();
        for (element, attributes) in all {
            for (name, value) in attributes {
                let target = match name.as_str() {
                    "for" | "aria-labelledby" | "aria-describedby" => Some(value.as_str()),
                    "href" if element == "use" || element == "a" => value.strip_prefix('#'),
                    _ => None,
                };
                assert!(target.is_none_or(|target| ids.contains(target)), "{element} {name}={value}");
            }
        }
    }
    scene.control = false;
    for (name, page) in pages(&scene) {
        tags(&page);
        assert!(
            !page.contains("<button name") && !page.contains(TOKEN),
            "{name} has forms, and nothing may be changed"
        );
    }
    let Some(folder) = std::env::var_os("PEN_PAGES") else { return };
    scene.control = true;
    for (name, page) in pages(&scene) {
        fs::write(Path::new(&folder).join(name).with_extension("html"), page).unwrap();
    }
}

/// The values of an attribute, in their order.
fn values(page: &str, attribute: &str) -> Vec<String> {
    let attributes = tags(page).into_iter().flat_map(|(_, attributes)| attributes);
    attributes.filter(|(name, _)| name == attribute).map(|(_, value)| value).collect()
}

#[test]
fn pages_take_nothing_from_elsewhere_and_hold_to_their_policy() {
    for (name, page) in busy().pages() {
        assert!(!page.contains("://") && !page.contains("<style"), "{name}");
        let scripts = tags(&page).into_iter().filter(|(element, _)| element == "script").count();
        assert_eq!(scripts, page.matches("<script src=\"/pen.js\" defer></script>").count(), "{name}");
        for attribute in ["src", "href", "action"] {
            let values = values(&page, attribute);
            assert!(values.iter().all(|value| value.starts_with(['/', '#'])), "{name}: {attribute} {values:?}");
        }
    }
    for asset in [page::live::STYLE, page::live::SCRIPT] {
        assert!(!asset.contains("://") && !asset.contains("@import") && !asset.contains("url("), "{asset}");
    }
}

#[test]
fn the_status_page_says_how_each_server_is() {
    let page = page(&busy(), "index");
    for text in [
        "<title>shop: 1 of 4 servers is down, 1 draining, 1 full.</title>",
        "listens on 0.0.0.0:80",
        "running for 3 d 2 h",
        "<a href=\"/servers/0\">web1.example:80</a><small>192.0.2.10</small>",
        "reported: http: 503 Service Unavailable",
        "down</span> <small>for 32 min</small>",
        "draining</span>",
        "<use href=\"#sign-full\"/>",
        "<a href=\"/clients?from=100\" rel=\"next\">More clients</a>",
        "<a href=\"/connections?from=",
        "<h3>Emergency server</h3>",
        "<dt>denied by client_acl</dt><dd>0</dd>",
        "<dt>Descriptors</dt><dd>2,049 of 4,096</dd>",
        "<a href=\"/metrics\">",
        "up → <span class=\"state down\">down</span>",
    ] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    assert_eq!(page.matches("class=\"spark\"").count(), 4 + 4 * 4, "four of all, and four of each server");
}

#[test]
fn a_server_can_be_changed_with_a_token_only() {
    let mut scene = busy();
    let html = page(&scene, "server0");
    let forms = html.matches("<form method=\"post\" action=\"/servers/0\">").count();
    let tokens = html.matches(&format!("<input type=\"hidden\" name=\"token\" value=\"{TOKEN}\">")).count();
    assert_eq!((forms, tokens), (4, 4));
    for action in ["drain", "maint", "weight", "blacklist", "close"] {
        assert!(html.contains(&format!("<button name=\"action\" value=\"{action}\"")), "{action}");
    }
    assert!(!html.contains("value=\"ready\""), "it is in service");
    let draining = page(&scene, "index");
    let row = draining.split("id=\"server-3\"").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(row.contains("value=\"ready\"") && row.contains("value=\"maint\"") && !row.contains("value=\"drain\""));
    scene.control = false;
    assert!(!page(&scene, "index").contains("<form"));
}

#[test]
fn lists_lead_to_the_next_page_and_back_to_the_first() {
    let scene = busy();
    let clients = page(&scene, "clients");
    assert!(clients.contains("<a href=\"/clients\">First clients</a>"));
    assert!(clients.contains("<a href=\"/clients?from=200\" rel=\"next\">More clients</a>"));
    let server = page(&scene, "server1");
    assert!(server.contains("<a href=\"/servers/1\">First sessions</a>"));
    assert!(server.contains("<a href=\"/servers/1?clients=100#clients\" rel=\"next\">More clients</a>"));
}

#[test]
fn an_answer_and_an_error_are_told() {
    let scene = busy();
    let answer = page(&scene, "explain");
    assert!(answer.contains("<li class=\"result\">server 0 (web1.example:80): hash</li>"));
    assert!(answer.contains("value=\"192.0.2.1\""));
    let error = page(&scene, "explain_error");
    assert!(error.contains("role=\"alert\">&lt;b&gt;&#39;&quot; is not an address</p>"));
    let error = page(&scene, "error");
    assert!(error.contains("<title>404 Not Found</title>") && error.contains("There is no page of this name."));
}
