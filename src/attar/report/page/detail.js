"use strict";
/* The dialog of one image: large, with its facts, its journey, its nearest training images and its views. */

(() => {
  const dialog = byId("detail");
  if (!dialog) return;
  let details, tiles, opened;

  const fill = (parent, children) => parent.replaceChildren(...children);
  const inView = () => [...document.querySelectorAll(".tile")].filter(
    (tile) => !tile.closest("[hidden]"),
  );

  const showLarge = (set, number, button) => {
    const large = byId("large");
    large.src = picture((set.large ?? tiles[button.dataset.set])[number]);
    large.alt = button.getAttribute("aria-label");
    large.className = set.pixelated ? "blocks" : "";
    byId("size").hidden = set.shown === set.side;
    byId("size").textContent =
      `Shown at ${set.shown} of ${set.side} pixels, to keep this page small; the image is ${set.files[number]}.`;
    const facts = [["File", set.files[number]], ["Set", set.name], ["Weight", set.weights[number]]];
    if (set.sources[number]) facts.push(["Made of", set.sources[number]]);
    fill(byId("facts"), facts.flatMap(([name, value]) => [create("dt", name), create("dd", value)]));
  };

  const showFrame = (journey) => {
    const place = Number(byId("scrub").value);
    const words = `after step ${journey.steps[place]}, frame ${place + 1} of ${journey.steps.length}`;
    byId("strip").style.transform = `translateX(${(-100 * place) / journey.steps.length}%)`;
    byId("step").textContent = words;
    byId("scrub").setAttribute("aria-valuetext", words);
    byId("frame").setAttribute("aria-label", `The image ${words}`);
  };
  const showJourney = (set, number) => {
    const journey = set.journey;
    const kept = journey !== null && number < journey.strips.length;
    byId("journey").hidden = !kept;
    if (!kept) return;
    byId("strip").src = picture(journey.strips[number]);
    byId("strip").className = set.pixelated ? "blocks" : "";
    byId("scrub").max = journey.steps.length - 1;
    byId("scrub").value = journey.steps.length - 1;
    byId("scrub").oninput = () => showFrame(journey);
    showFrame(journey);
  };

  const showNearest = (found, number) => {
    fill(byId("neighbours"), found.nearest[number].map((near, rank) => {
      const item = create("li");
      const image = create("img");
      image.src = picture(found.real[near]);
      image.alt = "";
      item.title = found.realNames[near];
      item.append(image, `${found.realTitles[near]}, cosine ${found.cosines[number][rank].toFixed(3)}`);
      return item;
    }));
  };
  const showViews = (found, number) => {
    const shares = found.own[number];
    fill(byId("views"), shares.map((share, view) => {
      const item = create("li");
      const name = view === 0 ? "centre crop" : `view ${view + 1}`;
      item.style.height = `${share}%`;
      item.title = `${name}: ${share.toFixed(1)} %`;
      item.append(create("span", item.title, "hidden"));
      return item;
    }));
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    const wrong = found.wrong[number];
    const judge = found.accuracy === null ? "" : `, ${found.accuracy} % right on held-out images,`;
    byId("answers").textContent =
      `A probe-v1 of all training images on ${found.backbone}${judge} gives its class ${mean.toFixed(1)} % on average ` +
      `of ${shares.length} views, ${Math.min(...shares).toFixed(1)} % at least, and is right on ${found.right[number]}. ` +
      (wrong ? `It is most often taken for ${wrong[0]} (${wrong[1]} views).` : "It is never taken for another class.");
  };
  const showEvidence = (found, number) => {
    for (const id of ["nearest", "confidence"]) byId(id).hidden = found === null;
    byId("lacking").hidden = found !== null;
    if (found === null) return;
    showNearest(found, number);
    showViews(found, number);
  };

  const show = (button) => {
    details ??= fromPage("details");
    tiles ??= fromPage("tiles");
    opened = button;
    const set = details[button.dataset.set];
    const number = Number(button.dataset.image);
    byId("detail-title").textContent = button.getAttribute("aria-label");
    showLarge(set, number, button);
    showJourney(set, number);
    showEvidence(set.evidence, number);
    const all = inView();
    byId("previous").disabled = all[0] === button;
    byId("next").disabled = all.at(-1) === button;
  };
  const turn = (by) => {
    const all = inView();
    const next = all[all.indexOf(opened) + by];
    if (!next) return;
    show(next);
    if (document.activeElement?.disabled || !dialog.contains(document.activeElement)) byId("detail-title").focus();
  };

  byId("classes").addEventListener("click", (event) => {
    const button = event.target.closest(".tile");
    if (!button) return;
    show(button);
    dialog.showModal();
    byId("detail-title").focus();
  });
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  byId("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => opened.focus());
  dialog.addEventListener("keydown", (event) => {
    if (event.target === byId("scrub")) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) turn(by);
  });
})();
