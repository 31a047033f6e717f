// What makes a page hard to use for somebody: an array of texts, empty when nothing does.
() => {
  const found = [];
  const name = (element) => {
    const id = element.id ? `#${element.id}` : "";
    return `${element.tagName.toLowerCase()}${id}.${element.className?.baseVal ?? element.className}`;
  };
  const visible = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && element.checkVisibility({ visibilityProperty: true });
  };

  // language, headings, ids
  if (!document.documentElement.lang) found.push("the page has no language");
  if (!document.title) found.push("the page has no title");
  const headings = [...document.querySelectorAll("h1,h2,h3,h4")].map((h) => Number(h.tagName[1]));
  if (headings.filter((level) => level === 1).length !== 1) found.push("there is not one h1");
  headings.reduce((before, level) => {
    if (level > before + 1) found.push(`a heading of level ${level} follows one of ${before}`);
    return level;
  }, 0);
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  ids.filter((id, index) => ids.indexOf(id) !== index).forEach((id) => found.push(`id ${id} twice`));
  for (const attribute of ["aria-labelledby", "aria-describedby", "aria-controls", "for", "list"]) {
    for (const element of document.querySelectorAll(`[${attribute}]`)) {
      for (const id of element.getAttribute(attribute).split(/\s+/).filter(Boolean)) {
        if (!document.getElementById(id)) found.push(`${name(element)}: no ${attribute} ${id}`);
      }
    }
  }

  // names
  const text = (element) => (element.textContent ?? "").trim();
  for (const image of document.querySelectorAll("img:not([alt])")) found.push(`${name(image)} no alt`);
  for (const element of document.querySelectorAll("a, button, summary")) {
    const alt = [...element.querySelectorAll("img")].map((image) => image.alt).join("");
    if (!text(element) && !element.ariaLabel && !alt) found.push(`${name(element)} has no name`);
  }
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea, progress")) {
    const labels = [...(field.labels ?? [])].map(text).join("");
    if (!labels && !field.ariaLabel) found.push(`${name(field)} ${field.name} has no label`);
  }
  for (const graphic of document.querySelectorAll("svg, canvas")) {
    if (graphic.ariaHidden !== "true" && !graphic.ariaLabel) found.push(`${name(graphic)} unnamed`);
  }
  for (const head of document.querySelectorAll("th:not([scope])")) found.push(`${text(head)} no scope`);
  for (const element of document.querySelectorAll("[tabindex]")) {
    if (element.tabIndex > 0) found.push(`${name(element)} is out of order`);
  }

  // width
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) found.push("the page is wider than the window");
  for (const element of document.querySelectorAll("main *")) {
    if (!visible(element) || element.closest(".scroll, pre, .hidden")) continue;
    const card = element.parentElement.closest(".card, .tile");
    const edge = card ? card.getBoundingClientRect().right : width;
    if (element.getBoundingClientRect().right > edge + 1) found.push(`${name(element)} sticks out`);
  }
  for (const cell of document.querySelectorAll("td, th, dd")) {
    if (cell.closest("thead, .scroll, .hidden") || !visible(cell)) continue;
    if (cell.scrollWidth > cell.clientWidth + 1) {
      found.push(`${name(cell)} "${cell.textContent.trim().slice(0, 30)}" has no room`);
    }
  }

  // contrast of texts, as WCAG 2.2 has it
  const rgba = (colour) => {
    const numbers = colour.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    const scale = colour.startsWith("color(") ? 255 : 1;
    return [...numbers.slice(0, 3).map((part) => part * scale), numbers[3] ?? 1];
  };
  const luminance = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const over = (top, below) => top.slice(0, 3).map((part, i) => part * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(rgba(getComputedStyle(at).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const ratio = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(element) || !visible(element)) continue;
    if (element.closest(".hidden, .skip, script, option, progress, title")) continue;
    seen.add(element);
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const background = behind(element);
    const contrast = ratio(over(rgba(style.color), background), background);
    if (contrast < (large ? 3 : 4.5)) {
      found.push(`${name(element)} "${text(element).slice(0, 30)}": contrast ${contrast.toFixed(2)}`);
    }
  }
  for (const mark of document.querySelectorAll(".dot, .pulse-dot")) {
    const background = behind(mark.parentElement);
    const contrast = ratio(rgba(getComputedStyle(mark).backgroundColor), background);
    if (contrast < 3) found.push(`${name(mark)}: contrast ${contrast.toFixed(2)}`);
  }
  return found;
}
