"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const narrow = () => window.innerWidth <= 720;
  const text = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 5 }) : String(value));
  const element = (tag, className, content) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content;
    return made;
  };
  // Always through textContent: what logs and events say is never markup.
  const tip = (title, ...rest) => {
    const box = element("div", "tip");
    box.append(element("b", "", title));
    for (const line of rest) if (line) box.append(element("div", "soft", line));
    return box;
  };
  const palette = () => ["#4477aa", "#cc7733", "#228866", "#aa4466", "#8866bb", "#998833", "#3399aa", "#777777"];
  const kinds = () => ({
    harness: { label: "harness", color: css("--soft"), symbol: "rect", size: [3, 12] },
    sweep: { label: "sweep", color: css("--accent"), symbol: "circle", size: 8 },
    "hand-off": { label: "hand-off", color: "#8866bb", symbol: "diamond", size: 11 },
    trainer: { label: "rank starts, ends", color: "#998833", symbol: "triangle", size: 9 },
    step: { label: "training step", color: css("--accent"), symbol: "rect", size: [2, 10] },
    checkpoint: { label: "checkpoint", color: "#228866", symbol: "roundRect", size: 8 },
    request: { label: "API request", color: css("--soft"), symbol: "circle", size: 6 },
    event: { label: "other event", color: css("--soft"), symbol: "emptyCircle", size: 7 },
    output: { label: "log line", color: css("--soft"), symbol: "rect", size: [1, 6] },
    fault: { label: "fault", color: css("--inconclusive"), symbol: "pin", size: 18 },
    failure: { label: "failure", color: css("--failed"), symbol: "pin", size: 18 },
  });
  const axis = () => ({
    axisLine: { lineStyle: { color: css("--line") } },
    axisTick: { show: false },
    axisLabel: { color: css("--soft"), fontSize: 12, hideOverlap: true },
    splitLine: { lineStyle: { color: css("--line"), opacity: 0.7 } },
    nameTextStyle: { color: css("--soft"), fontSize: 12 },
  });
  const base = () => ({
    animation: false,
    textStyle: { fontFamily: "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, DejaVu Sans, sans-serif" },
    tooltip: {
      confine: true, backgroundColor: css("--paper"), borderColor: css("--line"), padding: [8, 11],
      textStyle: { color: css("--ink"), fontSize: 12.5 },
    },
  });
  const legend = (more) => ({
    type: "scroll", bottom: 0, left: 0, icon: "circle", itemWidth: 8, itemHeight: 14, itemGap: 16,
    textStyle: { color: css("--soft"), fontSize: 12, lineHeight: 18 }, inactiveColor: css("--faint"),
    pageTextStyle: { color: css("--soft") }, pageIconColor: css("--soft"), pageIconInactiveColor: css("--line"), ...more,
  });

  // ---- the timeline -------------------------------------------------------------------------
  const bandStyle = (band) => {
    const tone = { completed: css("--passed"), failed: css("--failed"), unfinished: css("--inconclusive") }[band.status];
    if (band.kind === "trial") return { color: tone, opacity: 0.2, height: 0.72 };
    if (band.kind === "fault") return { color: css("--inconclusive"), opacity: 0.3, height: 0.8 };
    if (band.kind === "training") return { color: band.status === "failed" ? tone : css("--accent"), opacity: 0.3, height: 0.56 };
    if (band.kind === "process") return { color: band.status === "completed" ? css("--soft") : tone, opacity: 0.16, height: 0.56 };
    return { color: band.status === "failed" ? tone : css("--soft"), opacity: 0.1, height: 0.3 };
  };
  const timeline = (data, holder) => {
    const rows = data.lanes.map((lane) => lane.id);
    const lanes = Object.fromEntries(data.lanes.map((lane) => [lane.id, lane]));
    const styles = kinds();
    const left = narrow() ? 98 : 118;
    const height = rows.length * (narrow() ? 32 : 36);
    holder.style.height = `${height + 96}px`;
    const drawBand = (params, api) => {
      const band = data.bands[params.dataIndex];
      const style = bandStyle(band);
      const [x, y] = api.coord([band.start, rows.indexOf(band.lane)]);
      const [end] = api.coord([band.end, 0]);
      const tall = api.size([0, 1])[1] * style.height;
      const area = params.coordSys;
      const shape = echarts.graphic.clipRectByRect(
        { x, y: y - tall / 2, width: Math.max(end - x, 1.5), height: tall },
        { x: area.x, y: area.y, width: area.width, height: area.height },
      );
      if (!shape) return undefined;
      const label = band.kind === "trial" && shape.width > 40
        ? [{ type: "text", style: { x: shape.x + 7, y: shape.y + tall / 2, text: band.label, fill: css("--ink"), fontSize: 12, verticalAlign: "middle", width: shape.width - 12, overflow: "truncate" } }] : [];
      return { type: "group", children: [{ type: "rect", shape: { ...shape, r: 3 }, style: { fill: style.color, opacity: style.opacity, stroke: css("--paper"), lineWidth: 1 } }, ...label] };
    };
    const byKind = Object.keys(styles).map((kind) => ({
      kind, points: data.marks.filter((marks) => marks.kind === kind).flatMap((marks) => marks.points.map((point) => [point[0], rows.indexOf(marks.lane), ...point.slice(1)])),
    })).filter((series) => series.points.length);
    return {
      ...base(),
      grid: { left, right: 12, top: 6, height },
      xAxis: { ...axis(), type: "value", min: 0, max: data.duration || 1, axisLabel: { ...axis().axisLabel, formatter: (value) => `${text(value)} s`, showMaxLabel: false } },
      yAxis: {
        ...axis(), type: "category", inverse: true, data: rows, splitLine: { show: false },
        splitArea: { show: true, areaStyle: { color: ["transparent", css("--wash")] } },
        axisLabel: {
          ...axis().axisLabel, interval: 0, width: left - 10, overflow: "truncate", align: "left", margin: left - 2,
          formatter: (id) => (lanes[id].kind === "rank" ? `{rank|${lanes[id].label}}` : `{name|${lanes[id].label}}`),
          rich: { name: { color: css("--ink"), fontSize: 12 }, rank: { color: css("--soft"), fontSize: 12, padding: [0, 0, 0, 12] } },
        },
        axisLine: { show: false },
      },
      dataZoom: [
        { type: "inside", filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false },
        {
          type: "slider", filterMode: "none", height: 18, top: height + 32, left, right: 12, showDetail: false, brushSelect: false,
          borderColor: "transparent", backgroundColor: css("--wash"), fillerColor: "rgba(128,128,128,.18)",
          handleStyle: { color: css("--paper"), borderColor: css("--soft") }, moveHandleSize: 0, showDataShadow: false,
        },
      ],
      legend: legend({
        icon: "inherit", itemWidth: 12, itemHeight: 10, data: byKind.map((series) => styles[series.kind].label),
        // Of many trials the bands say enough.
        selected: data.trials.length > 20 ? { [styles.trainer.label]: false, [styles.output.label]: false } : {},
      }),
      series: [
        {
          type: "custom", name: "bands", renderItem: drawBand, clip: true, z: 1,
          data: data.bands.map((band) => [band.start, rows.indexOf(band.lane), band.end]),
          tooltip: { formatter: (hit) => {
            const band = data.bands[hit.dataIndex];
            return tip([band.kind, band.label].filter(Boolean).join(" "), `${text(band.start)} – ${text(band.end)} s (${text(band.end - band.start)} s)`, band.status, band.text);
          } },
        },
        ...byKind.map(({ kind, points }) => ({
          type: "scatter", name: styles[kind].label, data: points, symbol: styles[kind].symbol, symbolSize: styles[kind].size,
          symbolOffset: styles[kind].symbol === "pin" ? [0, "-30%"] : undefined,
          itemStyle: { color: styles[kind].color, opacity: kind === "output" ? 0.5 : 0.9 }, z: kind === "failure" || kind === "fault" ? 4 : 3,
          tooltip: { formatter: ({ value }) => {
            const [from, row, to, count, said] = value;
            const lane = lanes[rows[row]];
            const where = lane.kind === "rank" ? `${lane.id.split("#")[0]}, ${lane.label}` : lane.label;
            return count === 1 ? tip(said, `${text(from)} s · ${where}`)
              : tip(`${text(count)} × ${styles[kind].label}`, `${text(from)} – ${text(to)} s · ${where}`, `the first: ${said}`);
          } },
        })),
      ],
    };
  };

  // ---- training curves and scores -----------------------------------------------------------
  const curve = (data, metric, who) => {
    const shown = data.curves[metric].filter((one) => !who || one.who === who);
    const trials = [...new Set(data.curves[metric].map((one) => one.run))];
    const ranks = [...new Set(shown.map((one) => one.who))];
    const dashes = ["solid", "dashed", "dotted"];
    const colors = palette();
    return {
      ...base(),
      color: colors,
      grid: { left: 8, right: 16, top: 26, bottom: 50, containLabel: true },
      xAxis: { ...axis(), type: "value", name: "step", nameLocation: "middle", nameGap: 24, min: "dataMin", max: "dataMax", splitLine: { show: false } },
      yAxis: { ...axis(), type: "value", scale: true, name: metric, nameTextStyle: { ...axis().nameTextStyle, align: "left" } },
      dataZoom: [{ type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, filterMode: "none" }],
      legend: legend({ data: [...new Set(shown.map((one) => one.run))] }),
      tooltip: { ...base().tooltip, trigger: "item", formatter: (hit) => tip(`${metric} ${text(hit.value[1])}`, `step ${text(hit.value[0])} · ${hit.seriesName} · ${hit.seriesId.split("|")[1]}`) },
      series: shown.map((one) => ({
        type: "line", name: one.run, id: `${one.run}|${one.who}`, data: one.points, showSymbol: one.points.length < 40, symbol: "circle", symbolSize: 5,
        color: colors[trials.indexOf(one.run) % colors.length], connectNulls: false,
        lineStyle: { width: ranks.indexOf(one.who) > 0 ? 2.5 : 1.5, type: dashes[ranks.indexOf(one.who) % 3] },
        markLine: one.broken === null ? undefined : {
          silent: true, symbol: "none", lineStyle: { color: css("--failed") }, label: { formatter: "no number", color: css("--failed") }, data: [{ xAxis: one.broken }],
        },
      })),
    };
  };
  const scores = (data) => {
    const better = data.goal === "minimize" ? Math.min : Math.max;
    let top = null;
    const best = data.trials.map((one) => (top = one.score === null ? top : better(top ?? one.score, one.score)));
    return {
      ...base(),
      grid: { left: 8, right: 16, top: 26, bottom: 50, containLabel: true },
      xAxis: { ...axis(), type: "category", data: data.trials.map((one, at) => at + 1), name: "trial", nameLocation: "middle", nameGap: 24 },
      yAxis: { ...axis(), type: "value", scale: true, name: data.metric, nameTextStyle: { ...axis().nameTextStyle, align: "left" } },
      legend: legend({ data: ["score", "best so far"] }),
      series: [
        { type: "line", name: "best so far", step: "end", data: best, symbol: "none", lineStyle: { width: 1.5, color: css("--soft") }, itemStyle: { color: css("--soft") }, silent: true },
        {
          type: "scatter", name: "score", symbolSize: 9, itemStyle: { color: css("--accent") }, data: data.trials.map((one) => one.score),
          tooltip: { formatter: (hit) => tip(data.trials[hit.dataIndex].run, `score ${text(hit.value)}`) },
        },
      ],
    };
  };

  // ---- the search ---------------------------------------------------------------------------
  const isLog = (values) => values.every((value) => value > 0) && Math.max(...values) / Math.min(...values) >= 10;
  const isNumeric = (values) => values.every((value) => typeof value === "number");
  const spread = (values) => { const low = Math.min(...values), high = Math.max(...values); return (value) => (high > low ? (value - low) / (high - low) : 0.5); };
  const known = (data) => data.trials.filter((one) => one.score !== null && Object.keys(one.values).length);
  const parameters = (data) => [...new Set(data.trials.flatMap((one) => Object.keys(one.values)))];
  const short = (key) => key.split(".").pop();
  const scatter = (data, key) => {
    const rows = known(data).filter((one) => key in one.values);
    const values = rows.map((one) => one.values[key]);
    const numeric = isNumeric(values);
    const size = spread(rows.map((one) => one.cost ?? 0));
    return {
      ...base(),
      grid: { left: 8, right: 24, top: 26, bottom: 34, containLabel: true },
      xAxis: { ...axis(), type: numeric ? (isLog(values) ? "log" : "value") : "category", scale: true, name: key, nameLocation: "middle", nameGap: 28, splitLine: { show: false } },
      yAxis: { ...axis(), type: "value", scale: true, name: `${data.metric} (size: cost)`, nameTextStyle: { ...axis().nameTextStyle, align: "left" } },
      series: [{
        type: "scatter", data: rows.map((one, at) => [numeric ? values[at] : String(values[at]), one.score]),
        symbolSize: (_, hit) => 8 + 14 * size(rows[hit.dataIndex].cost ?? 0), itemStyle: { color: css("--accent"), opacity: 0.75, borderColor: css("--paper") },
        tooltip: { formatter: ({ dataIndex }) => tip(rows[dataIndex].run, `${key} = ${text(rows[dataIndex].values[key])}`, `score ${text(rows[dataIndex].score)}`, rows[dataIndex].cost === null ? "" : `cost ${text(rows[dataIndex].cost)}`) },
      }],
    };
  };
  const parallel = (data) => {
    const rows = known(data);
    const keys = parameters(data).filter((key) => isNumeric(rows.map((one) => one.values[key])));
    const columns = [...keys.map((key) => ({ name: short(key), values: rows.map((one) => one.values[key]) })),
      ...(rows.every((one) => one.cost !== null) ? [{ name: "cost", values: rows.map((one) => one.cost) }] : []),
      { name: "score", values: rows.map((one) => one.score) }];
    const last = columns.length - 1;
    const found = columns[last].values;
    return {
      ...base(),
      parallel: { left: 50, right: 50, top: 34, bottom: 24, parallelAxisDefault: { ...axis(), nameTextStyle: { ...axis().nameTextStyle, width: 92, overflow: "truncate" }, nameLocation: "end", nameGap: 12, realtime: true, areaSelectStyle: { width: 12, color: css("--accent"), borderColor: css("--accent"), opacity: 0.2 } } },
      parallelAxis: columns.map((column, dim) => ({ dim, name: column.name, type: isLog(column.values) ? "log" : "value", scale: true, axisLabel: { color: css("--soft"), fontSize: 11, showMinLabel: true, showMaxLabel: true, formatter: text, backgroundColor: css("--paper"), padding: [1, 2] }, splitNumber: 3, z: 5 })),
      visualMap: { show: false, dimension: last, min: Math.min(...found), max: Math.max(...found) + 1e-12, inRange: { color: [css("--faint"), css("--accent")] } },
      series: [{ type: "parallel", lineStyle: { width: 2, opacity: 0.85 }, data: rows.map((one, at) => columns.map((column) => column.values[at])),
        tooltip: { formatter: (hit) => tip(rows[hit.dataIndex].run, ...columns.map((column) => `${column.name} ${text(column.values[hit.dataIndex])}`)) } }],
    };
  };

  // ---- the log ------------------------------------------------------------------------------
  const ROW = 18;
  const showLog = (data, root) => {
    const [node, source, search] = ["node", "source", "text"].map((name) => root.querySelector(`.logs .${name}`));
    const [box, space, holder, count] = [".log", ".space", ".lines", ".count"].map((name) => root.querySelector(name));
    const lines = data.logs.lines;
    const most = (numbers) => numbers.reduce((top, one) => Math.max(top, one), 0);
    const width = most(lines.map((line) => line[1].length));
    const digits = most(lines.map((line) => line[0])).toFixed(3).length;
    const fill = (select, values) => values.forEach((value) => select.append(new Option(value)));
    fill(node, [...new Set(lines.map((line) => line[1]))].sort());
    fill(source, [...new Set(lines.map((line) => line[2]).filter((one) => one !== "cut"))].sort());
    let matching = lines;
    const draw = () => {
      const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 20);
      const rows = matching.slice(first, first + Math.ceil(box.clientHeight / ROW) + 40).map(([at, where, by, said]) => {
        const row = element("div", `line ${by}`);
        row.append(element("span", "at", `${at.toFixed(3).padStart(digits)}  `), element("span", "by", `${where.padEnd(width)}  `), said);
        return row;
      });
      holder.style.top = `${first * ROW}px`;
      holder.replaceChildren(...rows);
    };
    const filter = () => {
      const wanted = search.value.toLowerCase();
      matching = lines.filter(([, where, by, said]) => (!node.value || where === node.value) && (!source.value || by === source.value || by === "cut") && (!wanted || said.toLowerCase().includes(wanted)));
      count.textContent = `${matching.length.toLocaleString("en")} of ${lines.length.toLocaleString("en")} lines`;
      space.style.height = `${matching.length * ROW}px`;
      box.scrollTop = 0;
      draw();
    };
    node.onchange = source.onchange = search.oninput = filter;
    box.onscroll = () => requestAnimationFrame(draw);
    const left = data.logs.left_out.reduce((sum, one) => sum + one.lines, 0);
    root.querySelector(".cut").textContent = left ? `${left.toLocaleString("en")} lines were left out to keep this page small; the log says where.` : "";
    filter();
  };

  // ---- putting it on the page -----------------------------------------------------------------
  const fillSelect = (select, values, chosen) => {
    values.forEach((value) => select.append(new Option(value)));
    if (values.includes(chosen)) select.value = chosen;
    select.parentElement.hidden = values.length < 2;
  };
  const show = (root) => {
    const data = JSON.parse(document.getElementById(`data-${root.dataset.index}`).textContent);
    const find = (name) => root.querySelector(name);
    const drawings = [];
    const add = (name, build) => {
      const holder = find(name);
      const draw = () => {
        if (typeof echarts === "undefined") {
          holder.textContent = "No chart: the charting library could not be fetched when metta-sandbox was installed.";
          return;
        }
        const option = build(holder);
        const chart = echarts.getInstanceByDom(holder) || echarts.init(holder, null, { renderer: "canvas" });
        chart.setOption(option, true);
        chart.resize();
      };
      drawings.push(draw);
      return draw;
    };
    if (data.lanes.length) add(".timeline", (holder) => timeline(data, holder));
    else find(".timeline").closest("section").hidden = true;
    const metrics = Object.keys(data.curves);
    if (metrics.length) {
      const metric = find(".metric"), who = find(".who");
      fillSelect(metric, metrics, "loss");
      who.append(new Option("all", ""));
      fillSelect(who, [...new Set(Object.values(data.curves).flat().map((one) => one.who))], "");
      who.parentElement.hidden = who.options.length < 3;
      find(".fewer").hidden = !data.fewer_curves;
      metric.onchange = who.onchange = add(".curve", () => curve(data, metric.value, who.value));
    } else find(".curve").parentElement.hidden = true;
    const scored = data.trials.some((one) => one.score !== null);
    if (scored) add(".scores", () => scores(data)); else find(".scores").parentElement.hidden = true;
    if (!metrics.length) find(".curves .controls").hidden = true;
    if (!metrics.length && !scored) find(".curves").hidden = true;
    const keys = parameters(data);
    if (keys.length && known(data).length) {
      fillSelect(find(".parameter"), keys);
      find(".parameter").onchange = add(".scatter", () => scatter(data, find(".parameter").value));
      add(".parallel", () => parallel(data));
    } else find(".search").hidden = true;
    showLog(data, root);
    const all = () => drawings.forEach((draw) => draw());
    all();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
    let width = window.innerWidth;
    window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; all(); } });
    root.dataset.drawn = "yes";
  };
  document.querySelectorAll(".scenario").forEach((root) => {
    const once = () => { if (root.open && !root.dataset.drawn) show(root); };
    root.addEventListener("toggle", once);
    once();
  });
  const follow = () => { const wanted = document.querySelector(location.hash || "#none"); if (wanted instanceof HTMLDetailsElement) wanted.open = true; };
  window.addEventListener("hashchange", follow);
  follow();
  document.documentElement.dataset.ready = "yes";
})();
