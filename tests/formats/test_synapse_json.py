import msgspec

from pipeline.formats.synapse_json import SynapseJson
from pipeline.formats.testing import FormatCases, find_losses, strict_json
from tests.formats.write_golden import golden


class TestSynapseJson(FormatCases):
    format = SynapseJson()

    def test_writes_the_golden_files(self):
        assert self.tree() == golden("synapse_json")

    def test_needs_the_document(self):
        assert self.format.needs_payload

    def test_every_record_has_one_file_named_after_its_first_sample(self):
        stems = {f"json/{sample.stem}.json" for sample in self.samples() if sample.sample.ordinal == 0}
        assert set(self.tree()) == stems
        assert "json/pair_1.json" in stems
        assert "json/pair_2.json" not in stems

    def test_the_document_and_the_files_are_the_very_bytes(self):
        tree = self.tree()
        for sample in self.samples():
            record = sample.record
            if sample.sample.ordinal == 0:
                data = tree[f"json/{sample.stem}.json"]
                assert data.startswith(b'{"data":' + record.payload + b',"files":' + record.files)
                assert strict_json(data)["id"] == record.id

    def test_numbers_and_key_order_survive_as_they_were_written(self):
        sample = self.samples()[0]
        payload = b'{"z":1.10,"a":1e2,"big":123456789012345678901234567890,"n":null}'
        changed = msgspec.structs.replace(sample, record=msgspec.structs.replace(sample.record, payload=payload))
        (entry,) = self.format.render(changed, self.catalog())
        assert payload in entry.data

    def test_a_record_without_a_document_or_files_is_valid_json(self):
        sample = self.samples()[0]
        bare = msgspec.structs.replace(sample, record=msgspec.structs.replace(sample.record, payload=b"", files=b""))
        (entry,) = self.format.render(bare, self.catalog())
        assert strict_json(entry.data) == {"data": None, "files": {}, "id": 1}

    def test_nothing_is_ever_lost(self):
        assert not [loss for _, found in find_losses(self.format, self.samples(), self.catalog()) for loss in found]

    def test_dropped_classes_are_kept(self):
        assert strict_json(self.tree()["json/dropped.v2.json"])["data"]["annotations"]["image_1"][0] == {"id": "d1"}
