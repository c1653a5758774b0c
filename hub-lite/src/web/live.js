// Keeps an open page fresh. The page is whole without this: it only swaps the inside of <main> for a newer one that
// the hub has made and escaped. It never builds HTML from data.
"use strict";

(() => {
  const main = document.getElementById("main");
  // What only a script can do is shown where one runs.
  document.documentElement.classList.add("script");

  main?.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    const text = button && document.getElementById(button.dataset.copy)?.textContent;
    if (!text) return;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy it by hand";
    }
  });

  main?.addEventListener("change", async (event) => {
    const picker = event.target.closest("input[type=file][data-into]");
    const file = picker?.files[0];
    if (!file) return;
    // Larger than any envelope: the hub would say so, and the page need not hold it.
    const into = document.getElementById(picker.dataset.into);
    if (into && file.size <= 65_536) into.value = await file.text();
  });

  const sign = document.getElementById("live");
  if (!main?.dataset.live || !sign || !("EventSource" in window)) return;

  const REFRESH_MS = 30_000;
  const BACK_OFF_MS_MAX = 60_000;
  let source = null;
  let backOffMs = 1000;
  let fetching = false;
  let again = false;

  function say(state, text) {
    sign.hidden = false;
    sign.className = `live ${state}`;
    if (sign.textContent !== text) sign.textContent = text;
  }

  function swap(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    const chosen = new Map([...main.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));
    for (const details of fresh.querySelectorAll("details[id]")) {
      if (chosen.has(details.id)) details.open = chosen.get(details.id);
    }
    const focused = main.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    main.replaceChildren(...fresh.childNodes);
    if (focused) {
      [...main.querySelectorAll("a[href]")].find((a) => a.getAttribute("href") === focused)?.focus({ preventScroll: true });
    }
  }

  function isReading() {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && main.contains(selection.anchorNode);
  }

  function isWriting() {
    const fields = [...main.querySelectorAll("textarea, input[type=file]")];
    return main.querySelector("details.assign[open]") || fields.some((field) => field.value || field === document.activeElement);
  }

  async function refresh() {
    if (document.hidden || isReading() || isWriting()) return;
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    try {
      const url = new URL(location.href);
      url.searchParams.set("fragment", "1");
      const answer = await fetch(url, { cache: "no-store", credentials: "same-origin", redirect: "error" });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      if (answer.ok) swap(await answer.text());
    } catch {
      // The stream notices an outage and says so.
    } finally {
      fetching = false;
      if (again) {
        again = false;
        refresh();
      }
    }
  }

  function connect() {
    source = new EventSource(main.dataset.live);
    source.addEventListener("hello", () => {
      backOffMs = 1000;
      say("on", "live");
      refresh();
    });
    source.addEventListener("changed", refresh);
    source.addEventListener("error", () => {
      source.close();
      say("off", "reconnecting");
      // Nobody should come back in step with everybody else.
      setTimeout(connect, backOffMs * (0.5 + Math.random()));
      backOffMs = Math.min(backOffMs * 2, BACK_OFF_MS_MAX);
      refresh();
    });
  }

  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, REFRESH_MS);
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => event.persisted && connect());
  connect();
})();
