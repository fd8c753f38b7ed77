// Marks of a person on the triplets of this page: keys, a store in the browser, an export.
// The triplets are in the document already; their texts are never touched here.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const { version, sample, schema, schemaVersion } = document.body.dataset;
  const STORE = `facap-review-${sample}`; // a page of other triplets has other marks
  const items = [...document.querySelectorAll(".triplet")];
  const keyOf = (item) => `${item.dataset.reference}\n${item.dataset.target}`;
  const known = new Set(items.map(keyOf));
  const state = { at: 0, reviewer: "", marks: {}, history: [] }; // history: what each marking replaced
  let kept = true; // whether the browser stores what is marked
  let exported = true;

  // --- the store ---------------------------------------------------------------------------------

  const isMark = (value) =>
    value !== null && typeof value === "object" && ["good", "bad"].includes(value.mark) && !Number.isNaN(Date.parse(value.time));

  function load() {
    try {
      const found = JSON.parse(localStorage.getItem(STORE) ?? "{}");
      for (const [key, value] of Object.entries(found.marks ?? {})) {
        if (known.has(key) && isMark(value)) state.marks[key] = { mark: value.mark, time: value.time };
      }
      if (typeof found.reviewer === "string") state.reviewer = found.reviewer;
      if (Number.isInteger(found.at) && items[found.at]) state.at = found.at;
    } catch {
      kept = false;
    }
  }

  function save() {
    try {
      localStorage.setItem(STORE, JSON.stringify({ marks: state.marks, reviewer: state.reviewer, at: state.at }));
    } catch {
      kept = false;
    }
  }

  // --- marking -----------------------------------------------------------------------------------

  const markOf = (place) => state.marks[keyOf(items[place])]?.mark;
  const isDone = () => Object.keys(state.marks).length === items.length;

  function mark(value) {
    const key = keyOf(items[state.at]);
    state.history.push({ at: state.at, before: state.marks[key] });
    state.marks[key] = { mark: value, time: new Date().toISOString() };
    exported = false;
    const rest = items.map((_, place) => (state.at + 1 + place) % items.length); // round to the first that is open
    state.at = rest.find((place) => !markOf(place)) ?? Math.min(state.at + 1, items.length - 1);
    save();
    draw();
    if (isDone()) $("reviewer").scrollIntoView({ block: "nearest" });
  }

  function undo() {
    const last = state.history.pop();
    if (!last) return;
    const key = keyOf(items[last.at]);
    if (last.before) state.marks[key] = last.before;
    else delete state.marks[key];
    state.at = last.at;
    exported = false;
    save();
    draw();
  }

  function go(place) {
    state.at = Math.max(0, Math.min(items.length - 1, place));
    save();
    draw();
  }

  // --- drawing -----------------------------------------------------------------------------------

  const dots = items.map((_, place) => {
    const dot = document.createElement("button");
    dot.type = "button";
    dot.addEventListener("click", () => go(place));
    $("dots").append(dot);
    return dot;
  });

  function draw() {
    const marks = Object.values(state.marks);
    const good = marks.filter((one) => one.mark === "good").length;
    const now = markOf(state.at);
    items.forEach((item, place) => {
      item.hidden = place !== state.at;
    });
    dots.forEach((dot, place) => {
      const said = markOf(place);
      dot.className = `dot ${said ?? ""}`;
      dot.setAttribute("aria-label", `Triplet ${place + 1}, ${said ?? "not marked"}`);
      if (place === state.at) dot.setAttribute("aria-current", "true");
      else dot.removeAttribute("aria-current");
    });
    for (const value of ["good", "bad"]) $(value).setAttribute("aria-pressed", String(now === value));
    $("back").disabled = state.at === 0;
    $("next").disabled = state.at === items.length - 1;
    $("undo").disabled = state.history.length === 0;
    $("count").textContent = `Triplet ${state.at + 1} of ${items.length} · ${marks.length} marked`;
    $("bar-good").style.width = `${(100 * good) / items.length}%`;
    $("bar-bad").style.width = `${(100 * (marks.length - good)) / items.length}%`;
    $("summary").textContent = isDone()
      ? `All ${items.length} are marked: ${good} good, ${marks.length - good} bad. Export them.`
      : `${marks.length} marked: ${good} good, ${marks.length - good} bad. ${items.length - marks.length} to go; you can export before.`;
    $("finish").classList.toggle("done", isDone());
    $("export").disabled = marks.length === 0;
    if (!kept) hint("This browser keeps no marks for this page: export before you close it.");
  }

  function hint(text) {
    $("hint").textContent = text;
  }

  // --- export ------------------------------------------------------------------------------------

  function exportMarks() {
    const reviewer = $("reviewer").value.trim();
    if (!reviewer) {
      hint("Your name is missing: files of several people are told apart by it.");
      $("reviewer").focus();
      return;
    }
    const marks = items
      .filter((item) => state.marks[keyOf(item)])
      .map((item) => ({
        reference_id: item.dataset.reference,
        target_id: item.dataset.target,
        ...state.marks[keyOf(item)],
      }));
    const content = {
      schema,
      version: Number(schemaVersion),
      triplets: version,
      sample,
      reviewer,
      exported_at: new Date().toISOString(),
      marks,
    };
    const link = document.createElement("a");
    const name = reviewer.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40) || "reviewer";
    link.href = URL.createObjectURL(new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }));
    link.download = `marks-${name}-${version}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    exported = true;
    hint(`${marks.length} marks are in ${link.download}.`);
  }

  // --- wiring ------------------------------------------------------------------------------------

  const KEYS = {
    g: () => mark("good"),
    b: () => mark("bad"),
    u: undo,
    ArrowLeft: () => go(state.at - 1),
    ArrowRight: () => go(state.at + 1),
    Home: () => go(0),
    End: () => go(items.length - 1),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target === $("reviewer")) return;
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  $("good").addEventListener("click", KEYS.g);
  $("bad").addEventListener("click", KEYS.b);
  $("undo").addEventListener("click", undo);
  $("back").addEventListener("click", KEYS.ArrowLeft);
  $("next").addEventListener("click", KEYS.ArrowRight);
  $("reviewer").addEventListener("input", () => {
    state.reviewer = $("reviewer").value;
    save();
  });
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    exportMarks();
  });
  window.addEventListener("beforeunload", (event) => {
    if (!kept && !exported) event.preventDefault();
  });

  load();
  $("reviewer").value = state.reviewer;
  for (const id of ["controls", "dots", "finish"]) $(id).hidden = false;
  document.body.classList.add("live");
  draw();
})();
