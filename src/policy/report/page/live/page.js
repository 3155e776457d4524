// Refreshes the page: every few seconds while it is visible, and soon after an event. Only what has changed is replaced, so that the
// scroll position, the focus, open menus and what was typed stay. Without this script all works, too.
"use strict";
(() => {
  const EVERY = 5000; // milliseconds from one refresh to the next
  const LIMIT = 20000; // for a page. A form may wait for a password to be typed
  const SOON = 250; // after an event: more of them may come
  const REOPEN = 30000; // before events are asked for again after a refusal

  const main = document.getElementById("main");
  const notice = document.getElementById("notice");
  let timer, events, refusedAt = 0, silentSince = null, running = false, again = false;

  const clock = (time) => time.toTimeString().slice(0, 8);

  function say(text, isFault) {
    if (notice.textContent !== text) notice.textContent = text;
    notice.classList.toggle("fault", isFault);
    document.body.classList.toggle("stale", isFault);
  }

  // What an element is found by, wherever it has moved to.
  const key = (node) =>
    node.nodeType !== 1 ? "" : node.id ? "#" + node.id : node.localName === "button" ? "=" + node.value : "";

  function attributes(old, now) {
    const isOpen = (name) => name === "open" && old.localName === "details";
    for (const { name } of [...old.attributes]) {
      if (!now.hasAttribute(name) && !isOpen(name)) old.removeAttribute(name);
    }
    for (const { name, value } of now.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }

  // Makes a node as another one is, and keeps all of it that is alike.
  function morph(old, now) {
    if (old.nodeType !== 1) {
      if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
      return;
    }
    // Most rows of a large table have not changed.
    if (old.localName === "tr" && old.isEqualNode(now)) return;
    attributes(old, now);
    const kept = new Map();
    for (const child of old.children) if (key(child)) kept.set(key(child), child);
    let at = old.firstChild;
    for (const child of now.childNodes) {
      let found = key(child) ? kept.get(key(child)) : at;
      if (!key(child)) while (found && key(found)) found = found.nextSibling;
      if (found && found.nodeType === child.nodeType && found.nodeName === child.nodeName) {
        if (found === at) at = at.nextSibling;
        else old.insertBefore(found, at);
        morph(found, child);
      } else {
        old.insertBefore(document.importNode(child, true), at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function replace(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const next = page.getElementById("main");
    if (!next) throw new Error("no page");
    const focused = document.activeElement;
    morph(main, next);
    if (document.title !== page.title) document.title = page.title;
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  }

  async function refresh() {
    clearTimeout(timer);
    if (running) {
      again = true;
      return;
    }
    [running, again] = [true, false];
    const begin = Date.now();
    try {
      const answer = await fetch(location.href.split("#")[0], { cache: "no-store", signal: AbortSignal.timeout(LIMIT) });
      const text = await answer.text();
      if (!answer.ok) throw answer.status;
      replace(text);
      if (silentSince) say("pen answers again", false);
      else if (notice.textContent) setTimeout(() => silentSince || say("", false), EVERY);
      silentSince = null;
    } catch (error) {
      silentSince ??= new Date();
      const what = typeof error === "number" ? `answers ${error}` : "does not answer";
      say(`pen ${what} since ${clock(silentSince)}`, true);
    }
    running = false;
    listen();
    clearTimeout(timer);
    // A page that takes long to make is asked for less often. One that did not come is not.
    const wait = again ? SOON : silentSince ? EVERY : Math.max(EVERY, 10 * (Date.now() - begin));
    if (!document.hidden) timer = setTimeout(refresh, Math.min(wait, 12 * EVERY));
  }

  function listen() {
    const isClosed = !events || events.readyState === EventSource.CLOSED;
    if (document.hidden || !isClosed || Date.now() - refusedAt < REOPEN) return;
    refusedAt = Date.now();
    events = new EventSource("/api/events");
    events.addEventListener("change", () => {
      again = running;
      if (running) return;
      clearTimeout(timer);
      timer = setTimeout(refresh, SOON);
    });
  }

  async function send(form, button) {
    const data = new FormData(form);
    if (button && button.name) data.append(button.name, button.value);
    try {
      // A button is named like the property.
      const answer = await fetch(form.getAttribute("action"), {
        method: "POST",
        body: new URLSearchParams(data),
      });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!answer.ok) {
        const sentence = page.querySelector("main h1 ~ p");
        say(`Not done: ${sentence ? sentence.textContent : answer.status}`, false);
        return;
      }
      const menu = form.closest("details");
      if (menu) {
        menu.open = false;
        menu.querySelector("summary").focus({ preventScroll: true });
      }
      form.reset();
      say(`Done: ${button ? button.textContent : "sent"}`, false);
      refresh();
    } catch {
      say("Not done: pen does not answer", false);
    }
  }

  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    event.preventDefault();
    send(event.target, event.submitter);
  });

  // A menu closes by Escape, and when another is used.
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && event.target.closest("details.menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) {
      refresh();
    } else if (events) {
      events.close();
      refusedAt = 0;
    }
  });

  listen();
  timer = setTimeout(refresh, EVERY);
})();
