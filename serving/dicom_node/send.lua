-- Orthanc sends every CT series that has come in whole to the node, but not the
-- series that the node has sent back: their description says what they are not for.
-- While the node is away the job fails; it can be resubmitted (POST /jobs/ID/resubmit).
function OnStableSeries(series, tags, metadata)
   local description = tags['SeriesDescription'] or ''
   local denoised = string.find(description, 'NOT FOR DIAGNOSTIC USE', 1, true)
   if tags['Modality'] == 'CT' and not denoised then
      local job = '{"Resources": ["' .. series .. '"], "Synchronous": false}'
      RestApiPost('/modalities/ct_keras/store', job, true)
   end
end
