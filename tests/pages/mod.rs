//! The pages of the web server, rendered without it: well-formed, safe, and whole.
//!
//! With `PEN_PAGES=FOLDER`, a test writes them into files of that folder, to be looked at in a browser.

mod scene;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use scene::Scene;

/// Four servers in different states, a thousand clients, and an hour of history.
fn busy() -> Scene {
    let commands = [
        "conn_max 2000",
        "server 0 address web1.example port 80 max 200",
        "server 1 address 10.0.0.12 port 80",
        "server 2 address 10.0.0.13 port 8080 max 120",
        "server 3 address 2001:db8::7 port 443",
    ];
    let mut scene = Scene::new("shop", "0.0.0.0:80", &commands.map(String::from));
    scene.look();
    let mut open = Vec::new();
    for minute in 0..125_u32 {
        for client in 0..8 {
            let number = minute * 8 + client;
            let id = scene.arrive(Ipv4Addr::from(0x0a01_0000 + number)).unwrap();
            scene.balancer.account(
                id,
                u64::from(500 + 40 * (number % 17)),
                u64::from(9000 + 700 * (number % 29)) * u64::from(1 + minute % 11),
            );
            open.push(id);
        }
        let ended = open.len().saturating_sub(150 + (minute as usize * 7) % 60);
        for id in open.drain(..ended) {
            scene.balancer.close(id, scene.now);
        }
        if minute == 60 {
            (0..3).for_each(|_| scene.check(1, false, "http: 503 Service Unavailable"));
        }
        if minute == 80 {
            scene.command("server 3 drain");
        }
        scene.look();
    }
    scene
}

#[test]
fn the_pages_can_be_written_to_files() {
    let scene = busy();
    let pages = scene.pages();
    assert!(pages.iter().all(|(_, page)| page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n")));
    let Some(folder) = std::env::var_os("PEN_PAGES") else { return };
    for (name, page) in pages {
        fs::write(Path::new(&folder).join(name).with_extension("html"), page).unwrap();
    }
}
