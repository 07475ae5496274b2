"use strict";
// What stands on the page is read without this: it only keeps it up to date.
(function () {
  var live = document.querySelector("[data-live]");
  if (live) {
    setInterval(function () {
      if (document.hidden) { return; }
      fetch(live.dataset.live, { credentials: "same-origin" }).then(function (r) { return r.ok ? r.text() : null; }).then(function (text) {
        if (text !== null) { live.innerHTML = text; }
      }).catch(function () {});
    }, 1000);
  }
  var rows = document.getElementById("events");
  if (!rows || !window.EventSource) { return; }
  var stream = new EventSource("/v1/events?since=" + encodeURIComponent(rows.dataset.since));
  stream.onopen = function () { document.getElementById("following").hidden = false; };
  function cell(row, text) {
    var td = document.createElement("td");
    td.textContent = text || "";
    td.className = "long";
    row.appendChild(td);
  }
  function show(message) {
    var e = JSON.parse(message.data), row = document.createElement("tr");
    [e.at.replace("T", " ").slice(0, 19), e.kind, e.backend, e.image_id, e.volume, e.reason, (e.who ? e.who + ": " : "") + (e.detail || "")].forEach(function (text) { cell(row, text); });
    rows.insertBefore(row, rows.firstChild);
    while (rows.children.length > 500) { rows.removeChild(rows.lastChild); }
  }
  rows.dataset.kinds.split(" ").forEach(function (kind) { stream.addEventListener(kind, show); });
})();
