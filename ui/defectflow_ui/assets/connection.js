// The page notices that its station is gone or was started anew, waits for it, and says what was not judged.
'use strict';
(() => {
  const EVERY_MS = 4000, AGAIN_MS = 1500, NAMED = 20;
  const dropped = [];  // {files: {name: File}, at}: what this page has sent, until all of it was judged
  let known = null, lost = false, asking = false, interrupted = false;

  let said = null;
  const words = () => {  // kept: the header may be gone with the connection
    said ||= JSON.parse(document.querySelector('[data-connection]')?.dataset.connection || 'null');
    return said;
  };
  const judging = () => document.querySelector('#inspect-status progress') !== null;
  const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  // ---- the message ------------------------------------------------------------------------------------------------
  const say = (text, ...buttons) => {
    document.getElementById('station-lost')?.remove();
    if (!text) return;
    const box = Object.assign(document.createElement('div'), {id: 'station-lost'});
    box.setAttribute('role', 'alert');
    box.append(Object.assign(document.createElement('p'), {textContent: text}));
    for (const [label, pressed] of buttons) {
      const button = Object.assign(document.createElement('button'), {type: 'button', className: 'link-button', textContent: label});
      button.addEventListener('click', pressed);
      box.append(button);
    }
    document.body.prepend(box);
  };

  // ---- looking ----------------------------------------------------------------------------------------------------
  const look = async () => {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch('/alive', {cache: 'no-store'});
      if (!answer.ok) throw new Error(String(answer.status));
      const {station} = await answer.json();
      const anew = known !== null && station !== known, was = lost;
      known = station;
      lost = false;
      if (anew) await begunAnew();
      else if (was) say('');
    } catch {
      const said = words();
      if (!lost) interrupted = judging();
      lost = true;
      if (said) say(said.lost);
    } finally { asking = false; }
  };
  const ahead = async () => {
    if (!document.hidden || lost) await look();
    setTimeout(ahead, lost ? AGAIN_MS : EVERY_MS);
  };
  setTimeout(ahead, AGAIN_MS);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) look(); });

  // ---- the station was started anew: its tab's pictures are gone, what it has recorded is not -----------------------------
  const begunAnew = async () => {
    const said = words(), left = new Map();
    if (!said) return;
    if (interrupted || judging()) {
      for (const drop of dropped) {
        const answer = await fetch('/unjudged', {method: 'POST', body: JSON.stringify({since: drop.at, names: [...drop.files.keys()]})});
        if (answer.ok) for (const name of (await answer.json()).unjudged) left.set(name, drop.files.get(name));
      }
    }
    dropped.length = 0;
    interrupted = false;
    const names = [...left.keys()];
    if (!names.length) return say(said.back, [said.reload, () => location.reload()]);
    const listed = names.slice(0, NAMED).join(', ') + (names.length > NAMED ? ', …' : '');
    say(filled(said.unjudged, {count: names.length, names: listed}),
      [said.judge, async () => { await keep([...left.entries()]); location.reload(); }],
      [said.reload, () => location.reload()]);
  };

  // ---- the pictures themselves, across the reload: a browser's database keeps files, and nothing else does ------------------
  const NAME = 'defectflow-again';
  const done = (request) => new Promise((good, bad) => { request.onsuccess = () => good(request.result); request.onerror = () => bad(request.error); });
  const shelf = async (mode) => {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('files', {autoIncrement: true});
    return (await done(opening)).transaction('files', mode).objectStore('files');
  };
  const keep = async (files) => {
    const store = await shelf('readwrite');
    store.clear();
    await Promise.all(files.map(([name, file]) => done(store.add({name, file}))));
    sessionStorage.setItem(NAME, '1');
  };
  const goOn = async () => {  // once the page takes pictures
    if (!window.station?.judge || !document.querySelector('#drop-zone [data-ready]')) return setTimeout(goOn, 200);
    sessionStorage.removeItem(NAME);
    const store = await shelf('readwrite'), kept = await done(store.getAll());
    store.clear();
    window.station.judge(kept.map(({name, file}) => Object.assign(file, {relativePath: name})));
  };
  try { if (sessionStorage.getItem(NAME)) goOn(); } catch { /* private window */ }

  const sent = (files, at) => {
    if (!judging()) dropped.length = 0;  // all before was judged
    dropped.push({files: new Map(files.map((file) => [window.station.nameOf(file), file])), at});
  };
  document.addEventListener('click', (event) => {  // whoever stops it does not want the rest
    if (event.target.closest?.('#inspect-status [data-stop]')) dropped.length = 0;
  });
  window.stationConnection = {sent};
})();
