// The folder page's script: what page.py has made as links and forms works on the page itself then.
// A row is (folder or not, data-s octets, data-m milliseconds, data-n its rank by name), and that is all its place
// depends on, so the order here is the server's (folder.py). Names are read and written as text alone.
"use strict";
(() => {
const root = document.documentElement;
const by = id => document.getElementById(id);
const list = by("list"), filter = by("filter"), summary = by("summary"), empty = by("empty"), tiles = by("tiles");
const plural = (number, one, many) => `${number.toLocaleString()} ${number === 1 ? one : many}`;
const GROUP = 100;
// From so many rows on, what is typed waits for a pause.
const MANY = 5000;

root.classList.add("script");

// ---- Rows: looked through when they are needed first, for there may be fifty thousand.
let known = null;
let told = summary.textContent, toldEmpty = empty.textContent;

function rows() {
  known ??= Array.from(list.querySelectorAll(".rows > tr"), tr => ({
    tr, folder: tr.classList.contains("folder") ? 0 : 1,
    name: Number(tr.dataset.n), size: Number(tr.dataset.s ?? -1), modified: Number(tr.dataset.m ?? -Infinity), text: null,
  }));
  return known;
}

const plain = text => text.normalize("NFC").toLowerCase();

// ---- Dates of this place and exact sizes, for the groups that come near the window.
const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function dress(tr) {
  const { s, m } = tr.dataset, [, size, modified] = tr.cells;
  if (s !== undefined) size.title = plural(Number(s), "byte", "bytes");
  if (m === undefined || !modified.textContent) return;
  modified.textContent = dates.format(Number(m));
  modified.title = new Date(Number(m)).toISOString();
}

const near = new IntersectionObserver(seen => {
  for (const { isIntersecting, target } of seen) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    for (const tr of target.rows) dress(tr);
  }
}, { rootMargin: "600px" });

function watchGroups() {
  for (const group of list.querySelectorAll(".rows")) {
    group.style.setProperty("--rows", group.rows.length);
    near.observe(group);
  }
}

// ---- Sorting.
function sortBy(column, order) {
  const down = order === "desc" ? -1 : 1;
  rows().sort((a, b) => a.folder - b.folder || (a[column] < b[column] ? -down : a[column] > b[column] ? down : 0) || a.name - b.name);
  for (const group of list.querySelectorAll(".rows")) group.remove();
  for (let start = 0; start < known.length; start += GROUP) {
    const group = document.createElement("tbody");
    group.setAttribute("role", "rowgroup");
    group.className = "rows";
    group.append(...known.slice(start, start + GROUP).map(row => row.tr));
    list.append(group);
  }
  for (const head of list.tHead.rows[0].cells) {
    if (head.dataset.sort === column) head.setAttribute("aria-sort", `${order}ending`);
    else head.removeAttribute("aria-sort");
  }
  watchGroups();
  showGroups();
  remember(column, order);
}

// Links and reloads keep the order that is shown.
function remember(column, order) {
  const here = new URL(location.href);
  here.searchParams.delete("sort");
  here.searchParams.delete("order");
  if (column !== "name") here.searchParams.set("sort", column);
  if (order !== "asc") here.searchParams.set("order", order);
  history.replaceState(null, "", here);
}

list.tHead.addEventListener("click", event => {
  const head = event.target.closest("th[data-sort]");
  if (!head || !event.target.closest("a") || plainClick(event) === false) return;
  event.preventDefault();
  const now = head.getAttribute("aria-sort");
  sortBy(head.dataset.sort, now ? (now === "ascending" ? "desc" : "asc") : head.dataset.first);
});

function plainClick(event) {
  return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
}

// ---- Filtering.
function showGroups() {
  for (const group of list.querySelectorAll(".rows")) {
    let shown = 0;
    for (const tr of group.rows) shown += tr.hidden ? 0 : 1;
    group.hidden = shown === 0;
    group.style.setProperty("--rows", shown);
  }
}

function applyFilter() {
  const wanted = plain(filter.value);
  let shown = 0;
  for (const row of rows()) {
    row.text ??= plain(row.tr.cells[0].textContent);
    const hidden = !row.text.includes(wanted);
    if (row.tr.hidden !== hidden) row.tr.hidden = hidden;
    shown += hidden ? 0 : 1;
  }
  showGroups();
  summary.textContent = wanted ? `${shown.toLocaleString()} of ${plural(known.length, "entry", "entries")}` : told;
  empty.textContent = known.length && !shown ? "Nothing here has that in its name." : toldEmpty;
}

// A page that the server has filtered lacks rows: there the form asks the server again.
const filteredByServer = () => by("unfiltered") !== null;
let asked = 0;

filter.addEventListener("input", () => {
  if (filteredByServer()) return;
  clearTimeout(asked);
  asked = setTimeout(applyFilter, rows().length > MANY ? 150 : 0);
});
filter.form.addEventListener("submit", event => {
  if (filteredByServer()) return;
  event.preventDefault();
  clearTimeout(asked);
  applyFilter();
  shownLinks().find(link => !link.closest(".up"))?.focus();
});

// ---- Keys: "/" to the filter, arrows along the list, Escape out of the filter.
function shownLinks() {
  return Array.from(list.tBodies).flatMap(body => body.hidden ? [] :
    Array.from(body.rows).filter(tr => !tr.hidden).map(tr => tr.cells[0].firstElementChild));
}

function neighbour(tr, step) {
  const sibling = step > 0 ? "nextElementSibling" : "previousElementSibling";
  const edge = step > 0 ? "firstElementChild" : "lastElementChild";
  let at = tr;
  do {
    let next = at[sibling];
    for (let body = at.parentElement; !next && (body = body[sibling]);) next = body.tagName === "TBODY" ? body[edge] : null;
    at = next;
  } while (at && at.hidden);
  return at;
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || by("viewer").open) return;
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    filter.focus();
    filter.select();
  } else if (event.target === filter && event.key === "Escape" && filter.value && !filteredByServer()) {
    event.preventDefault();
    filter.value = "";
    applyFilter();
  } else if (event.key === "ArrowDown" && (event.target === filter || event.target === document.body || event.target === list)) {
    const [first] = shownLinks();
    if (first) event.preventDefault();
    first?.focus();
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && event.target.closest("tbody")) {
    event.preventDefault();
    const next = neighbour(event.target.closest("tr"), event.key === "ArrowDown" ? 1 : -1);
    (next ? next.cells[0].firstElementChild : event.key === "ArrowUp" ? filter : null)?.focus();
  }
});

// ---- Tiles are the style sheet's; this keeps the choice.
function kept(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(name);
    localStorage.setItem(name, value);
  } catch { /* storage may be forbidden */ }
  return null;
}

tiles.checked = kept("turboserver-tiles") === "1";
tiles.addEventListener("change", () => kept("turboserver-tiles", tiles.checked ? "1" : "0"));

// ---- Thumbnails that are no images give way to the icon.
list.addEventListener("error", event => {
  if (event.target.matches("tbody img")) event.target.remove();
}, true);

// ---- The viewer.
const viewer = by("viewer"), image = by("viewer-image");
let images = [], at = 0;

function show(index) {
  at = (index + images.length) % images.length;
  const link = images[at], name = link.textContent;
  by("viewer-error").hidden = true;
  image.hidden = false;
  image.src = link.href;
  image.alt = name;
  by("viewer-name").textContent = name;
  by("viewer-place").textContent = `${at + 1} of ${images.length}`;
  by("viewer-open").href = by("viewer-save").href = link.href;
  by("viewer-back").hidden = by("viewer-next").hidden = images.length < 2;
}

// The next one is asked for while this one is looked at.
image.addEventListener("load", () => { new Image().src = images[(at + 1) % images.length].href; });
image.addEventListener("error", () => { image.hidden = true; by("viewer-error").hidden = false; });

list.addEventListener("click", event => {
  const link = event.target.closest("a[data-view]");
  if (!link || !plainClick(event)) return;
  event.preventDefault();
  images = shownLinks().filter(other => other.hasAttribute("data-view"));
  viewer.showModal();
  show(images.indexOf(link));
});
viewer.addEventListener("keydown", event => {
  const step = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: images.length - 1 }[event.key];
  if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  show(step);
});
viewer.addEventListener("click", event => { if (event.target.matches("dialog, figure")) viewer.close(); });
viewer.addEventListener("close", () => { image.removeAttribute("src"); images[at]?.focus(); });
by("viewer-back").addEventListener("click", () => show(at - 1));
by("viewer-next").addEventListener("click", () => show(at + 1));
by("viewer-close").addEventListener("click", () => viewer.close());

// ---- Uploads: a PUT for each file, two at a time; the page is asked for again when the last one is done.
function uploads(form) {
  const SIDE_BY_SIDE = 2;
  const files = by("files"), section = by("sending"), drop = by("drop"), lines = section.querySelector("ul");
  const waiting = [];
  let running = 0, done = 0;

  function add(file, folder = false) {
    const line = by("sent").content.firstElementChild.cloneNode(true);
    const part = name => line.querySelector(name);
    const job = { file, line, replace: false, request: null };
    part(".name").textContent = file.name;
    part("progress").setAttribute("aria-label", `Upload of ${file.name}`);
    part(".cancel").addEventListener("click", () => {
      if (job.request) return job.request.abort();
      if (waiting.includes(job)) waiting.splice(waiting.indexOf(job), 1);
      line.remove();
      section.hidden = !lines.children.length;
    });
    part(".replace").addEventListener("click", () => {
      job.replace = true;
      enqueue(job);
    });
    lines.append(line);
    section.hidden = false;
    if (folder) tell(job, "Folders cannot be sent", "failed");
    else enqueue(job);
  }

  function enqueue(job) {
    tell(job, "Waiting", "");
    job.line.querySelector("progress").value = 0;
    waiting.push(job);
    start();
  }

  function tell(job, text, state) {
    job.line.className = state;
    job.line.querySelector(".state").textContent = text;
    if (state) by("said").textContent = `${job.file.name}: ${text}`;
    job.line.querySelector(".cancel").textContent = state ? "Dismiss" : "Cancel";
    job.line.querySelector(".replace").hidden = state !== "failed exists";
  }

  function start() {
    while (running < SIDE_BY_SIDE && waiting.length) send(waiting.shift());
    if (!running && !waiting.length && done) {
      done = 0;
      refresh();
    }
  }

  // A PUT of the file, or with its length alone (receiving.py): what came of it. "load", "error" or "abort", and the status.
  const put = (job, body) => new Promise(resolve => {
    const request = job.request = new XMLHttpRequest();
    request.open("PUT", `./${encodeURIComponent(job.file.name)}`);
    if (!job.replace) request.setRequestHeader("If-None-Match", "*");
    if (!body) request.setRequestHeader("Content-Range", ["bytes *", job.file.size].join("/"));
    else request.upload.addEventListener("progress", event => progress(job, event));
    for (const type of ["load", "error", "abort"]) {
      request.addEventListener(type, () => resolve({ type, status: request.status, reason: request.statusText }));
    }
    request.send(body);
  });

  function progress(job, event) {
    if (!event.lengthComputable || !event.total) return;
    const part = job.line.querySelector("progress").value = event.loaded / event.total;
    tell(job, part < 1 ? `${Math.floor(100 * part)} %` : "Finishing", "");
  }

  const taken = ({ status }) => status >= 200 && status < 300;

  // A server that refuses a large file may be gone before the browser has read why. So it is asked first, and again
  // when the connection has failed, for then it may have changed its mind.
  async function send(job) {
    running++;
    tell(job, "0 %", "");
    let answer = await put(job, null);
    if (taken(answer)) {
      answer = await put(job, job.file);
      if (answer.type === "error") {
        const why = await put(job, null);
        if (why.type !== "error" && !taken(why)) answer = why;
      }
    }
    ended(job, answer);
    job.request = null;
    running--;
    start();
  }

  function ended(job, answer) {
    if (answer.type === "error") return tell(job, "The connection failed", "failed");
    if (answer.type === "abort") return tell(job, "Cancelled", "failed");
    // 409 is anything that is in the way; 412 is what was asked for: that nothing has the name.
    if (answer.status === 412 && !job.replace) return tell(job, "A file of that name is here already", "failed exists");
    if (!taken(answer)) return tell(job, `Refused: ${answer.status} ${answer.reason}`, "failed");
    done++;
    job.line.querySelector("progress").value = 1;
    tell(job, "Done", "done");
  }

  // The server's own page, with its order and its idea of what is what.
  function refresh() {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.addEventListener("load", () => {
      const fresh = request.response;
      if (request.status !== 200 || !fresh?.getElementById("list")) return;
      const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      for (const body of Array.from(list.tBodies)) body.remove();
      // First all of them, then each: the collection shrinks by every one that is taken.
      list.append(...Array.from(fresh.getElementById("list").tBodies).map(body => document.adoptNode(body)));
      told = summary.textContent = fresh.getElementById("summary").textContent;
      toldEmpty = empty.textContent = fresh.getElementById("empty").textContent;
      known = null;
      watchGroups();
      if (filter.value && !filteredByServer()) applyFilter();
      if (focused) shownLinks().find(link => link.getAttribute("href") === focused)?.focus({ preventScroll: true });
    });
    request.send();
  }

  files.addEventListener("change", () => {
    for (const file of files.files) add(file);
    files.value = "";
  });
  form.addEventListener("submit", event => event.preventDefault());

  // A folder that is dropped looks like a file that cannot be read.
  function addDropped(data) {
    for (const item of data.items) {
      if (item.kind !== "file") continue;
      const file = item.getAsFile();
      if (file) add(file, item.webkitGetAsEntry?.()?.isDirectory);
    }
  }

  let inside = 0;
  const hasFiles = event => event.dataTransfer?.types.includes("Files");
  const leave = () => { inside = 0; drop.hidden = true; };
  addEventListener("dragenter", event => { if (hasFiles(event)) { inside++; drop.hidden = false; } });
  addEventListener("dragleave", event => { if (hasFiles(event) && --inside <= 0) leave(); });
  addEventListener("dragover", event => { if (hasFiles(event)) event.preventDefault(); });
  addEventListener("drop", event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    leave();
    addDropped(event.dataTransfer);
  });
  addEventListener("beforeunload", event => { if (running || waiting.length) event.preventDefault(); });
}

watchGroups();
if (by("upload")) uploads(by("upload"));
})();
