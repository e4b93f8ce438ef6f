// Lists the operations of openapi.json.
"use strict";

(async () => {
  const make = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });
  const spec = await (await fetch("/api/openapi.json")).json();
  const place = document.getElementById("operations");
  const schemaOf = (body) => {
    const schema = Object.values(body.content)[0].schema;
    const name = (schema.$ref || "").split("/").pop();
    return name ? spec.components.schemas[name] : schema;
  };
  const typeOf = (schema) => (schema.anyOf || [schema]).map((each) => (each.enum ? each.enum.join(" | ") : each.type || each.const)).filter((type) => type !== "null").join(" or ");
  const groups = new Map();
  for (const [path, methods] of Object.entries(spec.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push([method.toUpperCase(), path, operation]);
    }
  for (const [tag, operations] of groups) {
    place.append(make("h2", tag[0].toUpperCase() + tag.slice(1)));
    for (const [method, path, operation] of operations) {
      const article = make("article");
      article.append(make("h3", `${method} ${path}`), make("p", operation.description || operation.summary));
      const rows = (operation.parameters || []).map((each) => [each.name, typeOf(each.schema), `in the ${each.in}`]);
      if (operation.requestBody) {
        const schema = schemaOf(operation.requestBody);
        for (const [name, property] of Object.entries(schema.properties || {}))
          rows.push([name, typeOf(property), property.description || ((schema.required || []).includes(name) ? "required" : "")]);
      }
      if (rows.length) {
        const table = make("table");
        for (const row of rows) {
          const line = make("tr");
          line.append(...row.map((text) => make("td", text)));
          table.append(line);
        }
        article.append(table);
      }
      place.append(article);
    }
  }
})();
