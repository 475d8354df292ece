// Where the reader is: what Airflow's tab is about (query, fixed), and what is opened in it (hash, with history).

/** Values of a query. Airflow 3.1 puts ids in unescaped, and a plus sign in them is a plus sign. */
function parse(text) {
  const values = {};
  for (const pair of text.split("&").filter(Boolean)) {
    const [name, ...rest] = pair.split("=");
    try {
      values[name] = decodeURIComponent(rest.join("="));
    } catch {
      values[name] = rest.join("=");
    }
  }
  return values;
}

const query = parse(location.search.slice(1));
// For a task instance that is not mapped, Airflow leaves the placeholder as it is.
if ("map_index" in query && !/^-?\d+$/.test(query.map_index)) query.map_index = "-1";

const NAMES = ["dag_id", "run_id", "task_id", "map_index"];

/** Labels that the jobs of this page have; none on the page of all jobs. */
export const scope = NAMES.filter((name) => query[name]).map((name) => [name, query[name]]);

/** What a job of this page belongs to, in words. */
export const scopeName = "task_id" in query ? "task instance" : "run_id" in query ? "DAG run" : "dag_id" in query ? "DAG" : "";

/** Return what the hash says, as an object. */
export const readPlace = () => parse(location.hash.slice(1));

function hashOf(place) {
  const pairs = Object.entries(place).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return `#${pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`;
}

/** The address of a place, for links. */
export const linkTo = (place) => hashOf(place);

/** Change parts of the place without a new entry in the browser's history, and without telling anybody. */
export function adjustPlace(changes) {
  history.replaceState(null, "", location.pathname + location.search + hashOf({ ...readPlace(), ...changes }));
}
