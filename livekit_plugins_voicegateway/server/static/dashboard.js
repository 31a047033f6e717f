// What the pages need of a script: charts, colours, and whether what is shown is up to date.
// Everything works without it but those three.

"use strict";

(() => {
  const root = document.documentElement;

  // ---- light or dark ----------------------------------------------------------------------------

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  function setUpTheme() {
    const button = document.getElementById("theme");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.hidden = false;
    show();
    dark.addEventListener("change", () => {
      show();
      drawAll();
    });
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      // the server writes it into the page, so that it does not flash
      const year = 365 * 24 * 3600;
      document.cookie = `voicegw_theme=${root.dataset.theme}; path=/; max-age=${year}; samesite=strict`;
      show();
      drawAll();
    });
  }

  // ---- charts -----------------------------------------------------------------------------------

  const charts = new Map();
  const SHADES = [1, 0.7, 0.5, 0.35];

  // what a colour of the style sheet is now, with the numbers that Chart.js understands
  function colour(name, share = 1) {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const numbers = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3);
    probe.remove();
    return `rgba(${numbers.join(", ")}, ${share})`;
  }

  // as the server writes amounts: cents, and three digits where it is smaller
  function dollars(value) {
    const size = Math.abs(value);
    const small = size > 0 && size < 1;
    const places = small ? Math.min(9, Math.max(2, 2 - Math.floor(Math.log10(size)))) : 2;
    const [whole, part] = size.toFixed(places).split(".");
    const cents = part.slice(0, 2) + part.slice(2).replace(/0+$/, "");
    return `${value < 0 ? "-" : ""}$${Number(whole).toLocaleString("en-US")}.${cents}`;
  }

  function datasets(data) {
    return data.series.map((series) => ({
      label: series.name,
      data: series.costs,
      unpriced: series.unpriced,
      backgroundColor: colour(series.accent, SHADES[Math.min(series.shade, SHADES.length - 1)]),
      borderColor: colour("card"),
      borderWidth: { top: 1, bottom: 0, left: 0, right: 0 },
      borderSkipped: false,
      maxBarThickness: 44,
    }));
  }

  function options() {
    const axis = { color: colour("muted"), font: { size: 11 } };
    return {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      scales: {
        x: {
          stacked: true,
          grid: { display: false },
          border: { color: colour("line") },
          ticks: { ...axis, maxRotation: 0, autoSkipPadding: 12 },
        },
        y: {
          stacked: true,
          beginAtZero: true,
          grid: { color: colour("line") },
          border: { display: false },
          ticks: { ...axis, maxTicksLimit: 5, callback: (value) => dollars(value) },
        },
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          backgroundColor: colour("text"),
          titleColor: colour("card"),
          bodyColor: colour("card"),
          footerColor: colour("card"),
          padding: 10,
          boxPadding: 4,
          filter: (item) => item.raw !== null || item.dataset.unpriced[item.dataIndex] > 0,
          callbacks: {
            label: (item) => {
              const cost = item.raw === null ? "" : dollars(item.raw);
              const unpriced = item.dataset.unpriced[item.dataIndex];
              const more = unpriced ? `${cost ? " + " : ""}${unpriced} unpriced` : "";
              return ` ${item.dataset.label}: ${cost}${more}`;
            },
            footer: (items) => {
              const priced = items.filter((item) => item.raw !== null);
              const sum = priced.reduce((all, item) => all + item.raw, 0);
              return priced.length > 1 ? `Together ${dollars(sum)}` : "";
            },
          },
        },
      },
    };
  }

  function draw(figure) {
    const written = figure.dataset.chart;
    const known = charts.get(figure);
    if (known && known.written === written && known.dark === isDark()) return;
    const data = JSON.parse(written);
    if (known) {
      known.chart.data = { labels: data.labels, datasets: datasets(data) };
      known.chart.options = options();
      known.chart.update();
      charts.set(figure, { chart: known.chart, written, dark: isDark() });
      return;
    }
    const chart = new window.Chart(figure.querySelector("canvas"), {
      type: "bar",
      data: { labels: data.labels, datasets: datasets(data) },
      options: options(),
    });
    charts.set(figure, { chart, written, dark: isDark() });
  }

  function drawAll() {
    for (const [figure, known] of charts) {
      if (!figure.isConnected) {
        known.chart.destroy();
        charts.delete(figure);
      }
    }
    document.querySelectorAll("figure[data-chart]").forEach(draw);
  }

  // ---- is it up to date -------------------------------------------------------------------------

  const LATE = 6000;
  let answered = Date.now();

  function setUpPulse() {
    const pulse = document.getElementById("pulse");
    const text = document.getElementById("pulse-text");
    if (!pulse) return;
    const say = (state, words) => {
      if (pulse.dataset.state === state) return;
      pulse.dataset.state = state;
      text.textContent = words;
    };
    document.addEventListener("htmx:before:request", (event) => {
      // nobody looks, or somebody marks text: then it waits
      const marked = String(window.getSelection()).length > 0;
      if (document.hidden || marked) {
        event.preventDefault();
        answered = Date.now();
        if (marked) say("paused", "Paused");
      }
    });
    document.addEventListener("htmx:after:request", (event) => {
      const status = event.detail.ctx.response.status;
      if (status < 400) {
        answered = Date.now();
        say("live", "Live");
      }
    });
    document.addEventListener("htmx:after:swap", drawAll);
    window.setInterval(() => {
      if (!document.hidden && Date.now() - answered > LATE) say("lost", "Not up to date");
    }, 1000);
    document.addEventListener("visibilitychange", () => {
      answered = Date.now();
    });
  }

  setUpTheme();
  setUpPulse();
  drawAll();
  const problems = document.getElementById("form-problems");
  if (problems) problems.focus();
})();
