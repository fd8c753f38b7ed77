// The search page: pick a reference, say what should differ, see the ranked pictures.
// Whatever the server or the user sends becomes text or an attribute, never HTML.

const PAGE = 48;
const MAX_UPLOAD_BYTES = 8 * 1024 * 1024;
const NUM_RESULTS = 40;
const TRIES = 5; // of a request that a busy server refuses, and of a picture that does not come
const LONGEST_WAIT_S = 8;
const EXAMPLES = {
  dress: ["in navy", "without sleeves", "in a striped design", "with a maxi length", "fastened with a belt"],
  jacket: ["in black", "with a hood", "in leather fabric", "fastened with a zip", "with patch pockets"],
  outfit: ["in red", "with long sleeves", "with pants below", "in a floral design", "with white accents"],
  pants: ["in beige", "with a shorts length", "in denim fabric", "in a checked design", "with a flared shape"],
  skirt: ["in green", "with a mini length", "in a dotted design", "in satin fabric", "with a ruffle hem"],
  top: ["in white", "with long sleeves", "with a v-neck", "in a striped design", "finished with a bow"],
  "": ["in navy", "with long sleeves", "in a striped design", "with white accents"],
};

const $ = (id) => document.getElementById(id);
const state = {
  reference: null, // {id} of the catalogue or {file}; both with {name, category, url}
  category: "", // the filter; "" is all
  mode: "catalogue", // or "results"
  offset: 0,
  total: 0,
  busy: null, // AbortController of the request under way
  retry: null,
};

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

const imageUrl = (id) => `/images/${encodeURIComponent(id)}.jpg`;
const narrow = () => window.matchMedia("(max-width: 860px)").matches; // as in style.css
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

// --- talking to the server ---------------------------------------------------------------------

class ServerError extends Error {
  constructor(message, expected) {
    super(message);
    this.expected = expected;
  }
}

// Milliseconds until try `number` + 1: what the server asks for, else longer each time; never all pages at once.
function pause(number, retryAfter) {
  const seconds = Math.min(Number(retryAfter) || 0.25 * 2 ** number, LONGEST_WAIT_S);
  return 1000 * seconds * (0.5 + Math.random());
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function ask(url, options = {}) {
  state.busy?.abort();
  const controller = new AbortController();
  state.busy = controller;
  let response;
  for (let number = 1; ; number++) {
    try {
      response = await fetch(url, { ...options, signal: controller.signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError("The server cannot be reached.", "Is it still running?");
    }
    if (response.status !== 503 || number === TRIES) break;
    await sleep(pause(number, response.headers.get("Retry-After")));
    controller.signal.throwIfAborted();
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    if (response.status === 503) throw new ServerError("The server is busy.", "Try again in a moment.");
    throw new ServerError(sentence(body?.error ?? `The server answered ${response.status}`), expected(body?.expected));
  }
  if (body === null) throw new ServerError("The server's answer cannot be read.", "Try again.");
  return body;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + ".";
const expected = (text) => (text ? `Expected: ${text}.` : "");

// Runs `work`, shows what went wrong, and offers to try it again.
async function guarded(work) {
  $("notice").hidden = true;
  $("empty").hidden = true;
  $("grid").setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") return; // a newer request took over
    for (const skeleton of document.querySelectorAll("#grid .skeleton")) skeleton.remove();
    $("more").disabled = false;
    $("subtitle").textContent = "";
    say("");
    $("notice-title").textContent = error instanceof ServerError ? error.message : "Something went wrong.";
    $("notice-text").textContent = error instanceof ServerError ? error.expected : String(error.message);
    $("notice").hidden = false;
    state.retry = () => guarded(work);
  }
  $("grid").removeAttribute("aria-busy");
}

// --- the grid ----------------------------------------------------------------------------------

// Shows the picture at `url`, and asks again when it does not come.
function draw(image, url) {
  let number = 0;
  image.onerror = async () => {
    if (++number === TRIES) return;
    await sleep(pause(number));
    if (image.isConnected && image.getAttribute("src") === url) image.src = url;
  };
  image.src = url;
}

function card(item, rank) {
  const entry = element("li");
  const button = element("button", "card");
  button.type = "button";
  button.dataset.id = item.image_id;
  const picture = element("span", "picture");
  const image = element("img");
  image.alt = `${item.category}, product ${item.product_id}`;
  image.width = 256;
  image.height = 320;
  image.loading = rank !== undefined && rank <= 12 ? "eager" : "lazy";
  image.decoding = "async";
  draw(image, imageUrl(item.image_id));
  picture.append(image);
  const caption = element("span", "caption");
  if (rank === undefined) {
    caption.append(element("span", "name", item.category), element("span", "product", item.product_id));
  } else {
    caption.append(
      element("span", "rank", String(rank)),
      element("span", "name", item.category),
      element("span", "score", item.score.toFixed(3)),
    );
    button.setAttribute("aria-label", `Rank ${rank}: ${item.category}, score ${item.score.toFixed(3)}. Use as reference`);
  }
  button.append(picture, caption);
  button.addEventListener("click", () =>
    setReference({ id: item.image_id, name: `${item.category} ${item.product_id}`, category: item.category, url: imageUrl(item.image_id) }),
  );
  entry.append(button);
  return entry;
}

function skeletons(number) {
  return Array.from({ length: number }, () => {
    const entry = element("li", "skeleton card");
    entry.setAttribute("aria-hidden", "true");
    entry.append(element("span", "picture"), element("span", "caption"));
    return entry;
  });
}

function markReference() {
  for (const button of document.querySelectorAll("#grid .card[data-id]")) {
    button.setAttribute("aria-pressed", String(button.dataset.id === state.reference?.id));
  }
}

// --- the catalogue -----------------------------------------------------------------------------

function showCatalogue() {
  state.mode = "catalogue";
  state.offset = 0;
  $("title").textContent = "The catalogue";
  $("subtitle").textContent = "";
  $("back").hidden = true;
  $("grid").replaceChildren(...skeletons(12));
  return guarded(loadPage);
}

async function loadPage() {
  const query = new URLSearchParams({ offset: state.offset, limit: PAGE });
  if (state.category) query.set("category", state.category);
  $("more").disabled = true;
  const page = await ask(`/api/catalog?${query}`);
  if (state.offset === 0) $("grid").replaceChildren();
  $("grid").append(...page.items.map((item) => card(item)));
  state.offset += page.items.length;
  state.total = page.total;
  $("more").disabled = false;
  $("more").hidden = state.offset >= state.total;
  const products = Object.values(page.categories).reduce((sum, n) => sum + n, 0);
  $("count").textContent = `${plural(products, "garment")} · model version ${page.model_version}`;
  $("subtitle").textContent = state.reference ? "" : "Pick a garment that is almost right.";
  showFilters(page.categories, products);
  if (state.total === 0) showEmpty("There is nothing here yet.");
  markReference();
}

function showFilters(categories, products) {
  const pills = [["", "All", products], ...Object.entries(categories).map(([name, n]) => [name, name, n])];
  $("filters").replaceChildren(
    ...pills.map(([value, label, n]) => {
      const pill = element("button", "filter", label.charAt(0).toUpperCase() + label.slice(1));
      pill.type = "button";
      pill.append(" ", element("small", "", n.toLocaleString("en")));
      pill.dataset.category = value;
      pill.setAttribute("aria-pressed", String(value === state.category));
      pill.addEventListener("click", () => setCategory(value));
      return pill;
    }),
  );
}

function setCategory(value) {
  state.category = value;
  for (const pill of document.querySelectorAll(".filter")) {
    pill.setAttribute("aria-pressed", String(pill.dataset.category === value));
  }
  return state.mode === "results" ? search() : showCatalogue();
}

function showEmpty(text) {
  $("empty").textContent = text;
  $("empty").hidden = false;
}

// --- the reference -----------------------------------------------------------------------------

function setReference(reference) {
  if (state.reference?.file) URL.revokeObjectURL(state.reference.url);
  state.reference = reference;
  const image = $("reference-image");
  image.hidden = reference === null;
  $("placeholder").hidden = reference !== null;
  $("clear").hidden = reference === null;
  $("reference-name").textContent = reference?.name ?? "";
  if (reference) {
    draw(image, reference.url);
    image.alt = `Reference: ${reference.name}`;
  } else {
    image.removeAttribute("src");
  }
  showExamples();
  markReference();
  ready();
  if (reference) {
    say("Now say what should be different.");
    $("text").focus({ preventScroll: true });
    if (narrow()) $("composer").scrollIntoView({ behavior: "smooth" });
  }
}

function upload(file) {
  if (!file) return;
  if (!file.type.startsWith("image/")) return say("That is not a picture. JPEG, PNG, WebP, GIF or AVIF, please.");
  if (file.size > MAX_UPLOAD_BYTES - 64 * 1024) return say("That picture is too large: at most 8 MB.");
  setReference({ file, name: file.name, category: "", url: URL.createObjectURL(file) });
}

function showExamples() {
  const examples = EXAMPLES[state.reference?.category ?? ""] ?? EXAMPLES[""];
  $("chips").replaceChildren(
    ...examples.map((example) => {
      const chip = element("button", "chip", example);
      chip.type = "button";
      chip.addEventListener("click", () => {
        const text = $("text").value.trim();
        $("text").value = text && !text.includes(example) ? `${text}, ${example}` : example;
        ready();
        $("text").focus();
      });
      return chip;
    }),
  );
}

// --- the search --------------------------------------------------------------------------------

const say = (text) => { $("hint").textContent = text; };

function ready() {
  const is = state.reference !== null && $("text").value.trim() !== "";
  $("search").setAttribute("aria-disabled", String(!is));
  return is;
}

function search() {
  if (state.reference === null) return say("Pick a garment first, or upload a picture.");
  const text = $("text").value.trim();
  if (!text) {
    $("text").focus();
    return say("Say what should be different.");
  }
  state.mode = "results";
  $("title").textContent = `Like this, but “${text}”`;
  $("subtitle").textContent = "Searching …";
  $("back").hidden = false;
  $("more").hidden = true;
  $("grid").replaceChildren(...skeletons(12));
  say("");
  return guarded(() => runSearch(state.reference, text));
}

async function runSearch(reference, text) {
  const fields = { text, k: NUM_RESULTS };
  if (state.category) fields.category = state.category;
  const started = performance.now();
  let answer;
  if (reference.file) {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, String(value));
    form.append("image", reference.file);
    answer = await ask("/api/search", { method: "POST", body: form });
  } else {
    const body = JSON.stringify({ reference_id: reference.id, ...fields });
    answer = await ask("/api/search", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  }
  const milliseconds = Math.round(performance.now() - started);
  $("grid").replaceChildren(...answer.results.map((item, i) => card(item, i + 1)));
  const found = plural(answer.results.length, "result");
  $("subtitle").textContent = `${found} in ${milliseconds} ms · click one to go on from there`;
  say("");
  if (answer.results.length === 0) showEmpty("Nothing fits here. Try another category or other words.");
  markReference();
  if (narrow()) $("title").scrollIntoView({ behavior: "smooth" });
  else window.scrollTo({ top: 0, behavior: "smooth" });
}

// --- events ------------------------------------------------------------------------------------

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
$("text").addEventListener("input", ready);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    search();
  }
});
$("upload").addEventListener("change", (event) => {
  upload(event.target.files[0]);
  event.target.value = "";
});
$("clear").addEventListener("click", () => {
  setReference(null);
  say("");
});
$("back").addEventListener("click", showCatalogue);
$("more").addEventListener("click", () => guarded(loadPage));
$("retry").addEventListener("click", () => state.retry?.());

for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  upload(event.dataTransfer.files[0]);
});

showExamples();
ready();
showCatalogue();
