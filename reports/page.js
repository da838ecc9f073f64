"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = (id) => (byId(id) ? JSON.parse(byId(id).textContent) : null);

  // charts ------------------------------------------------------------------------------------------------------

  const figures = data("figures") || {};
  const calm = matchMedia("(pointer: coarse)");
  let plotly = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  // Figures name their colours (`@best`); which colour that is depends on light, dark or paper.
  const coloured = (value) => {
    if (typeof value === "string") {
      if (value[0] !== "@") return value;
      const name = value.slice(1);
      return colour(name === "series1" ? "complete" : name === "series6" ? "best" : name) || value;
    }
    if (Array.isArray(value)) return value.every((inner) => typeof inner === "number") ? value : value.map(coloured);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner)]));
    }
    return value;
  };

  const axis = () => ({
    gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true,
    exponentformat: "power", minexponent: 9, tickfont: { color: colour("muted") }, title: { font: { color: colour("muted"), size: 12 } },
  });

  const merged = (base, over) => {
    const out = { ...base };
    for (const [key, value] of Object.entries(over || {})) {
      const plain = value && typeof value === "object" && !Array.isArray(value);
      out[key] = plain ? merged(out[key] || {}, value) : value;
    }
    return out;
  };

  const layout = (figure) => {
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 54, r: 14, t: 10, b: 44 },
      font: { family: "system-ui, sans-serif", size: 12, color: colour("ink") },
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("ink") } },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 } },
      hovermode: "closest", dragmode: calm.matches ? false : "zoom", showlegend: figure.data.length > 1,
      xaxis: axis(), yaxis: axis(),
    };
    return merged(base, coloured(figure.layout));
  };

  // A chart follows its place: the window may change, and what was hidden has no size.
  const sizes = new ResizeObserver((entries) => entries.forEach(({ target, contentRect }) => {
    if (plotly && contentRect.width && !("print" in document.documentElement.dataset)) plotly.Plots.resize(target);
  }));

  const draw = (place) => {
    const figure = figures[place.dataset.figure];
    place.querySelector(".waiting")?.remove();
    const drawn = layout(figure);
    if ("print" in document.documentElement.dataset) drawn.width = place.clientWidth;  // paper does not wait for a resize
    plotly.react(place, coloured(figure.data), drawn, { displayModeBar: false });
    sizes.observe(place);
    place.dataset.drawn = "";
  };

  const drawAll = () => {
    if (plotly) document.querySelectorAll(".plot[data-figure]").forEach(draw);
  };

  const unpacked = async (text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return await new Response(stream).text();
  };

  const drawLazily = () => {
    const waiting = new Set(document.querySelectorAll(".plot[data-figure]"));
    const take = (place) => {
      if (!waiting.delete(place)) return;
      watcher.unobserve(place);
      try { draw(place); } catch (error) { console.error(error); }
    };
    const watcher = new IntersectionObserver(
      (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => take(entry.target)),
      { rootMargin: "400px" },
    );
    waiting.forEach((place) => watcher.observe(place));
    const later = window.requestIdleCallback
      ? (work) => requestIdleCallback(work, { timeout: 200 })  // a page out of sight may never be idle
      : (work) => setTimeout(work, 50);
    const next = () => {  // the rest while nothing else is to do, so that printing finds all drawn
      const [place] = waiting;
      if (!place) { ready(); return; }
      take(place);
      later(next);
    };
    later(next);
  };

  // The page counts as loaded once all charts are there, so that what prints or photographs it then has them: a
  // document inside that is still being written holds it back. (Where scripts may not reach it, nothing does.)
  const held = document.createElement("iframe");
  const hold = () => {
    held.hidden = true;
    document.body.append(held);
    held.contentDocument?.open();
  };
  const ready = () => {
    document.documentElement.dataset.ready = "";
    held.contentDocument?.close();
    held.remove();
  };

  const loadCharts = async () => {
    const packed = byId("plotly");
    if (!packed) { ready(); return; }
    hold();
    try {
      const script = document.createElement("script");
      script.textContent = await unpacked(packed.textContent.trim());
      document.head.append(script);
      plotly = window.Plotly;
      drawLazily();
    } catch (error) {
      document.querySelectorAll(".plot .waiting").forEach((place) => {
        place.textContent = "This browser cannot draw the charts (it lacks DecompressionStream); the tables hold the data.";
      });
      console.error(error);
      ready();
    }
  };

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => { document.documentElement.dataset.print = ""; drawAll(); });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.print; drawAll(); });

  // leaderboard -------------------------------------------------------------------------------------------------

  const shown = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "boolean") return value ? "true" : "false";
    if (typeof value !== "number" || Number.isInteger(value)) return String(value);
    const size = Math.abs(value);
    if (size >= 1000 && size < 1e15) return value.toFixed(0);
    return size !== 0 && (size < 1e-4 || size >= 1e15) ? value.toExponential(3).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(4)));
  };

  // A column by its own name, or by either of its names without spaces or `_`.
  const columnOf = (name, columns) => {
    const key = (text) => text.toLowerCase().replace(/[\s_]/g, "");
    const own = columns.findIndex((column) => column.name.toLowerCase() === name);
    return own >= 0 ? own : columns.findIndex((column) => [column.name, column.head].some((known) => key(known) === key(name)));
  };

  const condition = (word, columns, unknown) => {
    const parts = /^([^<>=]+)(<=|>=|<|>|=)(.+)$/.exec(word);
    const place = parts ? columnOf(parts[1], columns) : -1;
    if (parts && place < 0) unknown.push(parts[1]);
    if (place < 0) return (row, text) => text.includes(word);
    const [, , sign, wanted] = parts;
    const number = Number(wanted);
    return (row) => {
      const cell = row[place];
      if (sign === "=") return typeof cell === "number" ? cell === number || shown(cell) === wanted : shown(cell).toLowerCase() === wanted;
      if (typeof cell !== "number" || Number.isNaN(number)) return false;
      return sign === "<" ? cell < number : sign === ">" ? cell > number : sign === "<=" ? cell <= number : cell >= number;
    };
  };

  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
  };

  const board = () => {
    const table = data("rows");
    const place = byId("board");
    if (!table || !place) return;
    const { columns, rows, best, page } = table;
    const texts = rows.map((row) => row.map(shown).join(" ").toLowerCase());
    const stateAt = columns.findIndex((column) => column.name === "state");
    const main = place.querySelector("table");
    const body = main.tBodies[0];
    const heads = [...main.tHead.querySelectorAll("th")];
    const filter = byId("board-filter"), state = byId("board-state"), count = byId("board-count");
    const [back, on] = [byId("board-back"), byId("board-on")];
    let order = null, up = true, first = 0;

    const cell = (value, column) => {
      const td = document.createElement("td");
      if (column.numeric) td.className = "n";
      if (column.name === "state") {
        const pill = document.createElement("span");
        pill.className = "state " + value;
        pill.textContent = value;
        td.append(pill);
      } else if (typeof value === "string") {
        const bdi = document.createElement("bdi");
        bdi.textContent = value;
        td.append(bdi);
        if (column.name === "error") td.className = "reason";
      } else {
        td.textContent = column.digits !== null && typeof value === "number" ? value.toFixed(column.digits) : shown(value);
      }
      return td;
    };

    const render = () => {
      const unknown = [];
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean).map((word) => condition(word, columns, unknown));
      let found = rows.map((row, index) => index).filter((index) =>
        (!state.value || rows[index][stateAt] === state.value) && words.every((fits) => fits(rows[index], texts[index])));
      if (order !== null) {
        const empty = (index) => rows[index][order] === null;
        found = found.sort((a, b) => empty(a) - empty(b) || (up ? 1 : -1) * compare(rows[a][order], rows[b][order]) || a - b);
      }
      first = Math.max(0, Math.min(first, Math.floor((found.length - 1) / page) * page));
      const part = found.slice(first, first + page);
      body.replaceChildren(...part.map((index) => {
        const tr = document.createElement("tr");
        if (rows[index][columns.findIndex((column) => column.name === "trial")] === best) tr.className = "best";
        tr.append(...rows[index].map((value, at) => cell(value, columns[at])));
        return tr;
      }));
      const range = found.length > page ? `${first + 1}–${first + part.length} of ` : "";
      count.textContent = `${range}${found.length} ${found.length === 1 ? "trial" : "trials"}` + (found.length < rows.length ? ` (of ${rows.length})` : "")
        + unknown.map((name) => `; there is no column ${name}`).join("");
      back.disabled = first === 0;
      on.disabled = first + page >= found.length;
      back.parentElement.classList.toggle("hidden", found.length <= page);
    };

    heads.forEach((head, index) => head.querySelector("button").addEventListener("click", () => {
      up = order === index ? !up : true;
      order = index;
      first = 0;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      render();
    }));
    for (const input of [filter, state]) input.addEventListener("input", () => { first = 0; render(); });
    back.addEventListener("click", () => { first -= page; render(); });
    on.addEventListener("click", () => { first += page; render(); });
    place.querySelectorAll(".hidden.needs-script").forEach((part) => part.classList.remove("hidden"));
    render();
  };

  // the rest ----------------------------------------------------------------------------------------------------

  // A choice shows one of several parts: its value is what their `data-part` says.
  const chooser = (choice) => {
    const parts = document.querySelectorAll(`[data-chosen-by="${choice.id}"]`);
    const show = () => parts.forEach((part) => {
      part.classList.toggle("hidden", part.dataset.part !== choice.value);
      if (part.offsetWidth) part.querySelectorAll(".plot[data-drawn]").forEach((place) => plotly.Plots.resize(place));
    });
    choice.addEventListener("input", show);
    show();
  };

  const copier = (button) => {
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("pre").textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {  // a page opened from disk may not be allowed to: the text is marked instead
        getSelection().selectAllChildren(button.parentElement.querySelector("pre"));
        button.textContent = "Marked";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  };

  document.querySelectorAll("select[data-chooser]").forEach(chooser);
  document.querySelectorAll("button[data-copy]").forEach(copier);
  board();
  loadCharts();
})();
